"""`sample_weight`: how much each text counts, in what is learnt and in scores."""

from types import SimpleNamespace

import numpy as np
import pytest
import warmstart as ws
from conftest import FAST, make_texts
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from test_token_classifier import sentences
from warmstart import _core, training
from warmstart.solve import solve
from warmstart.weights import read_weights

KINDS = [["good", "fine"], ["bad", "sad"], ["old", "new"]]


def probe(backbone, **params):
    return ws.TextClassifier(backbone, **{"strategy": ws.LinearProbing(), "verbose": False, **params})


def noisy(n=48):
    """Texts, labels of which a third is wrong, and weights that leave those out."""
    texts, labels = make_texts(n, KINDS[:2])
    wrong = np.arange(n) % 3 == 0
    return texts, [label ^ bool(swap) for label, swap in zip(labels, wrong, strict=True)], 1.0 - wrong


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ([1.0], ValueError, "sample_weight has 1 entries for 4 texts"),
        ([1, 2, float("nan"), 1], ValueError, r"sample_weight\[2\] must be finite and at least 0, got nan"),
        ([1, -2, 1, 1], ValueError, r"sample_weight\[1\] must be finite and at least 0, got -2"),
        ([1, float("inf"), 1, 1], ValueError, r"sample_weight\[1\] must be finite"),
        ([0, 0, 0, 0], ValueError, "sample_weight is 0 for every text"),
        (["a", "b", "c", "d"], TypeError, "sample_weight holds what is no number"),
        (["1", "2", "3", "4"], TypeError, "sample_weight holds what is no number"),
        ([None, 1, 1, 1], ValueError, r"sample_weight\[0\] must be finite"),
        ("abcd", TypeError, "sample_weight is one str"),
        (3.0, TypeError, "sample_weight is a float"),
        (np.ones((4, 2)), TypeError, r"sample_weight has shape \(4, 2\)"),
    ],
)
def test_what_is_no_weight_of_each_text_is_refused(given, error, match, backbone, fitted):
    texts, labels = ["good film", "bad film", "fine plot", "sad plot"], ["pos", "neg", "pos", "neg"]
    tags = [["B-X", "O"]] * 4
    tagger = ws.TokenClassifier(backbone, **FAST)
    for call in (
        lambda: probe(backbone).fit(texts, labels, sample_weight=given),
        lambda: probe(backbone).explain(texts, labels, sample_weight=given),
        lambda: fitted.score(texts, labels, sample_weight=given),
        lambda: fitted.evaluate(texts, labels, sample_weight=given),
        lambda: tagger.fit([text.split() for text in texts], tags, sample_weight=given),
    ):
        with pytest.raises(error, match=match):
            call()


def test_any_container_of_numbers_will_do():
    pd = pytest.importorskip("pandas")
    for given in ([1, 2], (1, 2), np.array([1, 2], dtype=np.float32), pd.Series([1, 2], index=[7, 9])):
        np.testing.assert_array_equal(read_weights(given, 2), [1.0, 2.0])


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_text_of_weight_0_is_as_if_it_were_not_there(backbone, multi_label):
    texts, labels, weights = noisy()
    y = np.eye(2, dtype=int)[labels] if multi_label else np.array(labels)
    kept = np.flatnonzero(weights)
    clf = probe(backbone, multi_label=multi_label).fit(texts, y, sample_weight=weights)
    apart = probe(backbone, multi_label=multi_label).fit([texts[i] for i in kept], y[kept])
    np.testing.assert_array_equal(clf.predict_proba(texts), apart.predict_proba(texts))


def test_weights_that_are_all_alike_are_as_none(make, texts, labels):
    plain = make().fit(texts, labels)
    weighted = make().fit(texts, labels, sample_weight=[2.5] * len(texts))
    np.testing.assert_array_equal(weighted.predict_proba(texts), plain.predict_proba(texts))


def test_weights_shift_a_solved_head_like_that_of_sklearn():
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 5)).astype(np.float32)
    targets = (features[:, 0] + random.normal(size=60) > 0).astype(np.int64)
    weights = random.uniform(0.1, 3.0, 60)
    weights *= 60 / weights.sum()
    found = solve(features, targets, 2, False, l2=1.0, sample_weight=weights)
    # Features there are centred and divided by their root mean square length, which the strength is of.
    centred = features - features.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    other = LogisticRegression(C=1.0, tol=1e-8).fit(centred / scale, targets, sample_weight=weights)
    margins = found.logits(features)[:, 1] - found.logits(features)[:, 0]
    np.testing.assert_allclose(margins, other.decision_function(centred / scale), atol=1e-3)
    plain = solve(features, targets, 2, False, l2=1.0)
    assert np.abs(margins - (plain.logits(features)[:, 1] - plain.logits(features)[:, 0])).max() > 0.05


def test_heavy_texts_win_where_labels_contradict(backbone):
    texts, labels = ["the film", "a plot"] * 20, [0, 1, 1, 0] * 10
    weights = [9.0, 9.0, 1.0, 1.0] * 10
    clf = probe(backbone).fit(texts, labels, sample_weight=weights)
    assert clf.predict(["the film", "a plot"]).tolist() == [0, 1]
    turned = probe(backbone).fit(texts, labels, sample_weight=[10.0 - w for w in weights])
    assert turned.predict(["the film", "a plot"]).tolist() == [1, 0]


def test_weights_and_class_weights_multiply(backbone):
    texts, labels, _ = noisy()
    by_text = np.where(np.array(labels) == 0, 3.0, 1.0)
    weighted = probe(backbone).fit(texts, labels, sample_weight=by_text)
    by_class = probe(backbone, class_weight={0: 3.0}).fit(texts, labels)
    np.testing.assert_allclose(weighted.predict_proba(texts), by_class.predict_proba(texts), atol=1e-6)


def asked_of_the_core(monkeypatch):
    """Let `fit` stop where it calls the core; return what it was called with."""
    calls = []

    def fit(*args, **kwargs):
        calls.append((args, kwargs))
        raise InterruptedError

    model = SimpleNamespace(fit=fit, features=_core.TaskModel.features)
    monkeypatch.setattr(training, "_core", SimpleNamespace(TaskModel=model))
    return calls


def test_the_core_gets_a_weight_for_each_text_it_trains_on(make, monkeypatch):
    calls = asked_of_the_core(monkeypatch)
    texts, labels, weights = noisy(12)
    weights = weights * np.arange(12)
    with pytest.raises(InterruptedError):
        make().fit(texts, labels, sample_weight=weights)
    with pytest.raises(InterruptedError):
        make().fit(texts, labels)
    (args, given), (_, without) = calls
    assert given["sample_weight"].dtype == np.float32
    np.testing.assert_array_equal(given["sample_weight"], weights[weights > 0])
    assert len(args[2]) == len(args[3]) == len(given["sample_weight"])
    assert without["sample_weight"] is None


def test_the_core_gets_a_weight_for_each_window_of_a_tagged_text(backbone, monkeypatch):
    calls = asked_of_the_core(monkeypatch)
    texts, tags = sentences(3, 20)
    with pytest.raises(InterruptedError):
        ws.TokenClassifier(backbone, **FAST | {"max_length": 12}).fit(texts, tags, sample_weight=[1.0, 0.0, 4.0])
    ((args, given),) = calls
    weights = given["sample_weight"]
    assert len(weights) == len(args[2]) > 2
    assert sorted(set(weights.tolist())) == [1.0, 4.0]
    assert (np.diff(weights) >= 0).all()  # window by window, text by text


def test_a_tagger_with_a_solved_head_learns_the_heavy_texts(backbone):
    texts, tags = [["the", "film"]] * 20, [["O", "B-X"], ["O", "B-Y"]] * 10
    tagger = ws.TokenClassifier(backbone, strategy=ws.LinearProbing(), verbose=False)
    first = tagger.fit(texts, tags, sample_weight=[5.0, 1.0] * 10).predict_tags([["the", "film"]])
    second = tagger.fit(texts, tags, sample_weight=[0.0, 1.0] * 10).predict_tags([["the", "film"]])
    assert (first, second) == ([["O", "B-X"]], [["O", "B-Y"]])


@pytest.fixture(scope="module")
def scored(backbone):
    texts, labels = make_texts(60, KINDS)
    clf = probe(backbone).fit(texts[:30], labels[:30])
    weights = np.random.default_rng(1).uniform(0, 3, 30) * (np.arange(30) % 4 > 0)
    return clf, texts[30:], np.array(labels[30:]), weights


def test_score_and_report_are_those_of_sklearn_with_weights(scored):
    clf, texts, labels, weights = scored
    predicted = clf.predict(texts)
    assert (predicted != labels).any()
    report = clf.evaluate(texts, labels, sample_weight=weights)
    expected = accuracy_score(labels, predicted, sample_weight=weights)
    assert clf.score(texts, labels, sample_weight=weights) == report.accuracy == pytest.approx(expected)
    macro = f1_score(labels, predicted, average="macro", sample_weight=weights)
    assert report.macro_f1 == pytest.approx(macro)
    assert report.loss == pytest.approx(log_loss(labels, clf.predict_proba(texts), sample_weight=weights), rel=1e-4)
    columns = precision_recall_fscore_support(labels, predicted, sample_weight=weights)
    for name, values in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        assert [row[name] for row in report.per_class] == pytest.approx(values.tolist())
    np.testing.assert_allclose(report.confusion, confusion_matrix(labels, predicted, sample_weight=weights))
    assert report.n_texts == (weights > 0).sum()
    assert "macro f1" in repr(report)
    assert report._repr_html_()
    again = ws.Report.from_dict(report.to_dict())
    np.testing.assert_array_equal(again.confusion, report.confusion)
    assert clf.evaluate(texts, labels).confusion.dtype == np.int64


def test_scores_of_a_tagger_count_the_entities_of_each_text_as_it_weighs(backbone):
    texts, tags = sentences(40, 7)
    tagger = ws.TokenClassifier(backbone, **FAST).fit(texts[:20], tags[:20])
    other, truth = texts[20:], tags[20:]
    twice = [1] * 10 + [2] * 10
    repeated = [i for i, n in enumerate(twice) for _ in range(n)]
    weighted = tagger.evaluate(other, truth, sample_weight=twice)
    plain = tagger.evaluate([other[i] for i in repeated], [truth[i] for i in repeated])
    assert weighted.entity_f1 == pytest.approx(plain.entity_f1) == pytest.approx(tagger.score(other, truth, twice))
    assert weighted.accuracy == pytest.approx(plain.accuracy)
    assert weighted.loss == pytest.approx(plain.loss, rel=1e-5)
    assert [row["support"] for row in weighted.per_class] == [row["support"] for row in plain.per_class]
    some = tagger.evaluate(other, truth, sample_weight=[0] * 10 + [1] * 10)
    last = tagger.evaluate(other[10:], truth[10:])
    assert (some.per_class, some.accuracy) == (last.per_class, last.accuracy)
    alone = tagger.evaluate([["good", "film"], []], [["B-praise", "O"], []], sample_weight=[0, 1])
    assert (alone.accuracy, alone.per_class, alone.n_texts) == (0.0, [], 1)
    assert some.entity_f1 == pytest.approx(tagger.score(other[10:], truth[10:]))
    assert some.n_texts == 10


def test_searches_and_pipelines_hand_weights_on(backbone):
    texts, labels, weights = noisy()
    clean = np.flatnonzero(weights)
    search = GridSearchCV(probe(backbone), {"label_smoothing": [0.0, 0.1]}, cv=2)
    search.fit(texts, labels, sample_weight=weights)
    assert search.score([texts[i] for i in clean], [labels[i] for i in clean]) > 0.9
    model = make_pipeline(FunctionTransformer(lambda items: list(items)), probe(backbone))
    model.fit(texts, labels, textclassifier__sample_weight=weights)
    assert model.score([texts[i] for i in clean], [labels[i] for i in clean]) > 0.9
    scores = cross_validate(probe(backbone), texts, labels, params={"sample_weight": weights}, cv=2)["test_score"]
    assert np.isfinite(scores).all()


def test_what_is_learnt_in_steps_counts_texts_by_their_weights(make):
    """Labels of a third of the texts are wrong; of weight 0 they are as if they were not there."""
    texts, labels, weights = noisy()
    params = {"strategy": ws.FullFineTuning(), "learning_rate": 1e-2, "epochs": 6, "batch_size": 8}
    right = [i for i, weight in enumerate(weights) if weight]
    weighted = make(**params).fit(texts, labels, sample_weight=weights)
    alone = make(**params).fit([texts[i] for i in right], [labels[i] for i in right])
    assert weighted.predict_proba(texts).tobytes() == alone.predict_proba(texts).tobytes()
    heavy = make(**params).fit(texts, labels, sample_weight=np.where(weights > 0, 30.0, 1.0))
    truth = np.array(labels) ^ (weights == 0)
    assert (heavy.predict(texts) == truth).mean() > (make(**params).fit(texts, labels).predict(texts) == truth).mean()


def test_weights_that_only_leave_texts_out_train_as_without_them(backbone):
    """Also where nothing is asked for, and what is learnt follows the shares of the labels."""
    texts, labels = make_texts(16, KINDS[:2])
    labels = [0] * 12 + [1] * 4
    weights = [0.0] + [1.0] * 15
    with pytest.warns(UserWarning):
        masked = ws.TextClassifier(backbone, random_state=0, verbose=False).fit(texts, labels, sample_weight=weights)
        alone = ws.TextClassifier(backbone, random_state=0, verbose=False).fit(texts[1:], labels[1:])
    assert masked.report_.training["choices"] == alone.report_.training["choices"]
    assert masked.predict_proba(texts).tobytes() == alone.predict_proba(texts).tobytes()
