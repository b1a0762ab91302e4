"""Rate and length where none are given."""

import functools
from math import ceil
from types import SimpleNamespace

import numpy as np
import pytest
import warmstart as ws
from sklearn.exceptions import ConvergenceWarning
from warmstart.classification import Classification
from warmstart.defaults import SOLVED, SOLVED_FIRST, epochs, learning_rate
from warmstart.labels import Classes
from warmstart.prepared import Labelled
from warmstart.probe import _start


@pytest.mark.parametrize("batch_size", [7, 32])
def test_few_texts_are_passed_over_more_often(batch_size):
    before = None
    for n in (1, 16, 50, 200, 616, 1000, 5000, 100_000):
        passes = epochs(ws.FullFineTuning(), n, ceil(n / batch_size)).value
        assert passes * ceil(n / batch_size) >= 60
        assert passes >= 3
        assert before is None or passes <= before
        before = passes
    assert before == 3


def test_the_rate_falls_with_the_root_of_the_width():
    rates = [learning_rate(ws.FullFineTuning(), width, False).value for width in (96, 384, 1536)]
    assert rates == pytest.approx([2e-4, 1e-4, 5e-5])
    assert learning_rate(ws.FullFineTuning(), 96, True).value == pytest.approx(2 * rates[0])
    assert learning_rate(ws.LinearProbing(), 384, False).value > 10 * rates[0]


def mostly_one_label(n_texts=40):
    """Texts whose labels, most of them the same, have nothing to do with them."""
    rng = np.random.default_rng(3)
    words = ["good", "bad", "film", "movie", "old", "new", "plot", "story"]
    texts = [" ".join(rng.choice(words, 5)) for _ in range(n_texts)]
    return texts, ["rare" if i % 5 == 0 else "common" for i in range(n_texts)]


def test_texts_that_the_features_tell_nothing_of_are_not_learnt_by_heart(backbone):
    texts, labels = mostly_one_label()
    make = functools.partial(ws.TextClassifier, backbone, random_state=0, verbose=False)
    assert "where the features tell nothing" in make().explain(texts, labels).choices["head"].why
    with pytest.warns(
        ConvergenceWarning,
        match=r"left out in turn, the 40 texts .* 80% of them are 'common': fine-tuning was left out",
    ):
        clf = make().fit(texts, labels)
    value, why = clf.report_.training["choices"]["head"]
    assert (value, "not surely less" in why) == (SOLVED, True)
    assert "learning_rate" not in clf.report_.training["choices"]
    for row, then in zip(backbone.embed(texts), clf.backbone_.embed(texts), strict=True):
        np.testing.assert_array_equal(row, then)
    for asked in ({"strategy": ws.FullFineTuning()}, {"max_steps": 2}, {"class_weight": "balanced"}, {"batch_size": 4}):
        assert make(**asked).fit(texts, labels).report_.training["choices"]["head"][0] == SOLVED_FIRST
    balanced = ["a" if i % 2 else "b" for i in range(40)]  # where learning by heart costs nothing
    assert make().fit(texts, balanced).report_.training["choices"]["head"][0] == SOLVED_FIRST


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_head_that_stays_as_solved_is_told_once(backbone):
    texts, labels = mostly_one_label()
    with pytest.warns(ConvergenceWarning) as caught:
        ws.TextClassifier(backbone, random_state=0, verbose=False).fit(texts, labels, eval_set=(texts, labels))
    assert len(caught) == 1


def test_texts_that_the_features_tell_apart_are_fine_tuned_though_most_have_one_label(backbone):
    labels = ["rare" if i % 5 == 0 else "common" for i in range(40)]
    texts = ["bad bad bad bad" if label == "rare" else "the good film" for label in labels]
    clf = ws.TextClassifier(backbone, random_state=0, verbose=False).fit(texts, labels)
    assert clf.report_.training["choices"]["head"][0] == SOLVED_FIRST


def test_training_begins_no_worse_than_guessing_where_features_hardly_differ(tokenizer_dir):
    """Those of a model of random weights are one large vector and little beside, which dropout would drown."""
    backbone = ws.Backbone.from_config(
        "bert",
        tokenizer_dir,
        random_state=0,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
    )
    texts, _ = mostly_one_label(120)
    labels = [text.split()[0] for text in texts]
    clf = ws.TextClassifier(backbone, random_state=0, verbose=False, max_steps=1).fit(texts, labels)
    assert clf.history_.rows[0]["loss"] < 1.1 * np.log(8)


@pytest.mark.parametrize(
    ("offset", "dropout", "smoothing", "grows"), [(0, 0.1, 0.2, False), (30, 0.0, 0.0, False), (30, 0.1, 0.0, True)]
)
def test_the_penalty_of_the_start_grows_where_dropout_would_drown_the_features_alone(offset, dropout, smoothing, grows):
    targets = (np.arange(100) % 10 == 0).astype(np.int64)
    rng = np.random.default_rng(0)
    found = (rng.normal(size=(100, 40)) + offset + 2 * targets[:, None]).astype(np.float32)
    run = SimpleNamespace(
        of_words=False,
        task=Classification(Classes(np.arange(2), False), label_smoothing=smoothing),
        backbone=SimpleNamespace(_inner=SimpleNamespace(head_dropout=lambda _: dropout)),
    )
    data = Labelled(None, targets)
    start = _start(found, data, run, run.task.solver(found, targets, None, True, False))
    assert (start.l2 > run.task.start_l2) == grows


def test_texts_that_the_features_tell_little_of_are_learnt_slowly(backbone):
    rng = np.random.default_rng(3)
    words = ["good", "film", "movie", "old", "new", "plot", "story"]
    is_bad = rng.random(400) < 0.5
    texts = [" ".join(rng.choice(words, 4)) + (" bad bad" if bad else " good good") for bad in is_bad]
    labels = (rng.random(400) < np.where(is_bad, 0.4, 0.12)).astype(int)
    make = functools.partial(ws.TextClassifier, backbone, random_state=0, verbose=False)
    clf = make().fit(texts, labels)
    choices, usual = clf.report_.training["choices"], make().explain(texts, labels).choices
    assert "surely less" in choices["learning_rate"][1]
    assert choices["learning_rate"][0] == pytest.approx(usual["learning_rate"].value / 2)
    same = make(learning_rate=choices["learning_rate"][0], epochs=5).fit(texts, labels)
    np.testing.assert_array_equal(same.predict_proba(texts), clf.predict_proba(texts))
    assert (usual["epochs"].value, choices["epochs"][0], clf.report_.training["epochs"]) == (3, 5, 5)
