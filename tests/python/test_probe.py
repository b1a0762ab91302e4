"""`LinearProbing` solves a head of one linear map; what the data and the model decide is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from sklearn.linear_model import LogisticRegression
from test_families import FAMILIES, tiny
from warmstart.classification import Classification
from warmstart.labels import Classes
from warmstart.prepared import Labelled
from warmstart.probe import some
from warmstart.tagged import Windows
from warmstart.texts import encode

SENTENCE = Path(__file__).parents[1] / "reference" / "sentence"
TEXTS = json.loads((SENTENCE / "expected.json").read_text(encoding="utf-8"))["texts"]
TASK = Classification(Classes(np.arange(3), False))
LABELS = [("yes", "no", "maybe")[i % 3] for i in range(len(TEXTS))]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def encoder():
    return ws.Backbone.from_pretrained(SENTENCE / "max_norm")


def probe(encoder, **params):
    return ws.TextClassifier(encoder, strategy=ws.LinearProbing(), precision="f32", verbose=False).set_params(**params)


def test_a_head_is_at_the_optimum_that_scikit_learn_finds(encoder):
    clf = probe(encoder).fit(TEXTS, LABELS)
    vectors = encoder.embed(TEXTS, pooling="max", normalize=False, precision="f32").astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).sum(axis=1).mean())
    l2 = clf.report_.training["l2"]
    peer = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=10_000).fit(scaled, LABELS)
    np.testing.assert_allclose(clf.predict_proba(TEXTS), peer.predict_proba(scaled), atol=2e-3)


def test_the_loss_of_an_eval_set_is_weighted_as_when_stepped(encoder):
    weight = {"yes": 10.0, "no": 1.0, "maybe": 0.5}
    clf = probe(encoder, class_weight=weight).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    true = clf.predict_proba(TEXTS)[np.arange(len(TEXTS)), np.searchsorted(clf.classes_, LABELS)]
    expected = np.average(-np.log(true), weights=[weight[label] for label in LABELS])
    assert clf.history_.rows[-1]["eval_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_solved_head_needs_no_seed(encoder):
    one, other = (probe(encoder, random_state=seed).fit(TEXTS, LABELS) for seed in (0, 1))
    np.testing.assert_array_equal(one._outputs(TEXTS), other._outputs(TEXTS))
    for row, then in zip(encoder.embed(TEXTS), one.backbone_.embed(TEXTS), strict=True):
        np.testing.assert_array_equal(row, then)


@pytest.mark.parametrize(
    "given",
    [{"learning_rate": 1e-2}, {"epochs": 2}, {"max_steps": 3}, {"optimizer": ws.AdamW(schedule="cosine")}],
)
def test_rate_length_or_optimiser_have_the_head_trained_in_steps(encoder, given):
    clf = probe(encoder, **given)
    told = clf.explain(TEXTS, LABELS).choices["head"]
    assert (told.value, next(iter(given)) in told.why) == ("trained in steps", True)
    clf.fit(TEXTS, LABELS)
    assert clf.history_.rows[-1]["learning_rate"] >= 0
    assert clf.report_.training["choices"]["head"][0] == "trained in steps"


def test_explain_says_what_does_not_apply(encoder):
    clf = probe(encoder)
    told = repr(clf.explain(TEXTS, LABELS))
    assert "learning_rate, optimizer, epochs and batches do not apply" in told
    clf.fit(TEXTS, LABELS)
    assert "do not apply" in repr(clf.report_)


def test_eval_set_is_scored_as_of_a_run_in_steps(encoder):
    clf = probe(encoder, metric="macro_f1").fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    (row,) = clf.history_.rows
    report = clf.evaluate(TEXTS, LABELS)
    assert row["macro_f1"] == pytest.approx(report.macro_f1)
    assert row["eval_loss"] == pytest.approx(report.loss, rel=1e-5)
    assert clf.report_.accuracy == report.accuracy
    assert clf.history_.best_step == row["step"] == clf.n_iter_


def test_an_error_or_ctrl_c_while_scoring_keeps_the_solved_head(encoder):
    def interrupted(truth, predicted):
        raise KeyboardInterrupt

    clf = probe(encoder, metric=interrupted)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    np.testing.assert_array_equal(clf._outputs(TEXTS), probe(encoder).fit(TEXTS, LABELS)._outputs(TEXTS))
    assert clf.report_.training["stopped_by"] == "KeyboardInterrupt"


def test_class_weights_count(encoder):
    labels = ["rare"] * 2 + ["usual"] * (len(TEXTS) - 2)
    plain, balanced = (
        probe(encoder, class_weight=weight).fit(TEXTS, labels).predict_proba(TEXTS)[:, 0].mean()
        for weight in (None, "balanced")
    )
    assert balanced > plain + 0.1


def test_many_labels(encoder):
    labels = [["a"] * (i % 2) + ["b"] * (i % 3 == 0) for i in range(len(TEXTS))]
    clf = probe(encoder, multi_label=True).fit(TEXTS, labels)
    found = clf.predict_proba(TEXTS)
    truth = clf._trained.target.encode(labels, len(TEXTS))
    assert found.shape == truth.shape
    np.testing.assert_allclose(
        found.mean(axis=0), truth.mean(axis=0), atol=0.02
    )  # as the optimum of a free bias has it


def test_tags_of_words(encoder):
    texts = [["the", "good", "film"], ["it", "was", "bad"], ["a", "good", "end"]] * 4
    tags = [["O", "B-X", "O"], ["O", "O", "B-Y"], ["O", "B-X", "O"]] * 4
    tagger = ws.TokenClassifier(encoder, strategy=ws.LinearProbing(), verbose=False).fit(texts, tags)
    assert tagger.report_.training["choices"]["head"][0] == "solved"
    assert tagger.predict_tags(texts[:1])[0][0] in tagger.classes_


def test_a_head_that_is_not_one_new_map_is_trained_in_steps(backbone):
    """A BERT without its pooler in the checkpoint has two new maps."""
    clf = ws.TextClassifier(backbone, strategy=ws.LinearProbing(), verbose=False)
    expected = "solved" if backbone._inner.has_linear_head(False) else "trained in steps"
    assert clf.explain(TEXTS, LABELS).choices["head"].value == expected


def test_what_was_chosen_is_told(encoder):
    clf = ws.TextClassifier(encoder, verbose=False, max_steps=2).fit(TEXTS, LABELS)
    rate, why = clf.report_.training["choices"]["learning_rate"]
    assert rate == clf.explain(TEXTS, LABELS).choices["learning_rate"].value > 0
    assert str(encoder.hidden_size) in why
    assert "epochs" not in clf.report_.training["choices"]


def test_what_is_given_twice_is_refused(encoder):
    with pytest.raises(ValueError, match="batch_size=4 and batch_tokens=64 are both given"):
        ws.TextClassifier(encoder, batch_size=4, batch_tokens=64, verbose=False).fit(TEXTS, LABELS)


def test_batch_size_counts_texts(encoder):
    texts, labels = ["the good film", "the film good"] * 16, ["a", "b"] * 16
    clf = ws.TextClassifier(encoder, batch_size=8, epochs=1, verbose=False).fit(texts, labels)
    assert clf.n_iter_ == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_the_optimum_of_every_family_is_what_its_head_computes(family, tokenizer_dir, texts, labels):
    """Also where transformers' head has no bias, as most decoders' have not."""
    clf = probe(tiny(family, tokenizer_dir)).fit(texts, labels)
    if clf.report_.training["choices"]["head"][0] == "solved":
        assert clf.history_.rows[0]["loss"] == pytest.approx(clf.evaluate(texts, labels).loss, rel=1e-3)
    tuned = ws.TextClassifier(tiny(family, tokenizer_dir), max_steps=1, random_state=0, verbose=False)
    assert np.isfinite(tuned.fit(texts, labels).predict_proba(texts)).all()


def test_strategies_explain_how_the_head_learns(encoder):
    plan = ws.LinearProbing().explain(encoder)
    assert plan.choices["head"].value == "solved"
    assert "learning_rate" not in plan.choices
    assert [line[3] for line in plan.by_layer()][-1] == "solved"
    assert ws.FullFineTuning().explain(encoder).choices["head"].value == "solved, then trained"


@pytest.mark.parametrize("multi_label", [False, True])
def test_of_many_texts_training_begins_from_a_head_of_some_of_each_class(encoder, multi_label):
    """Also of a rare one: what is absent would begin so far below that nothing brought it back."""
    words = ["good", "bad", "old", "film", "movie"]
    n = 2411
    encodings = encode(encoder._inner, [" ".join(words[(i + j) % 5] for j in range(1 + i % 3)) for i in range(n)], None)
    classes = np.minimum(np.arange(n) // 7, 2)  # 7, 7 and all the others
    targets = np.eye(3, dtype=np.float32)[classes] if multi_label else classes
    part = some(Labelled(encodings, targets), TASK)
    counts = part.targets.sum(axis=0) if multi_label else np.bincount(part.targets)
    assert len(part.encodings) == len(part.targets) == counts.sum() < 1020
    assert counts[0] == counts[1] == 7 and counts[2] > 900
    few = Labelled(encodings.select(range(900))[0], targets[:900])
    assert some(few, TASK) is few


def test_of_many_words_a_part_is_solved_on_with_its_own_tags(encoder, monkeypatch):
    texts = [["good", "film", "bad", "movie"]] * 2000
    windows = Windows.of(encoder._inner, texts, None)
    data = Labelled(windows.encodings, (np.arange(8000) % 4 == 0).astype(np.int64))
    for most, n in ((20_000, 1000), (400, 100)):
        monkeypatch.setattr("warmstart.probe.START_ITEMS", most)
        part = some(data, TASK)
        assert n <= len(part.encodings) <= n + 16 and len(part.targets) == 4 * len(part.encodings)
        np.testing.assert_array_equal(part.targets, np.arange(len(part.targets)) % 4 == 0)


@pytest.mark.parametrize("pooling", ["mean", ["cls", "mean", "max"]])
def test_estimate_of_a_solved_head_counts_its_features_and_vectors(encoder, texts, labels, pooling):
    probing = ws.TextClassifier(encoder, strategy=ws.LinearProbing(), pooling=pooling, verbose=False)
    solved = probing.estimate_memory(texts, labels)
    stepped = probing.set_params(epochs=30).estimate_memory(texts, labels)
    values = len(set(labels)) * (np.size(pooling) * encoder.hidden_size + 1)
    features = len(texts) * (np.size(pooling) * encoder.hidden_size + 1)
    assert solved.activations - stepped.activations == 8 * (features + 45 * values)
