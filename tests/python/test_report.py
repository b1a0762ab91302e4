"""`Report`: the numbers of scikit-learn, and how they are shown."""

import io
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import warmstart as ws
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss
from warmstart.labels import Classes
from warmstart.report import Report
from warmstart.scores import probabilities


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make_report(n_classes: int, n_texts: int, names=None, training=None) -> tuple[Report, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    names = names or [f"class {i:02d}" for i in range(n_classes)]
    truth = rng.integers(0, n_classes, n_texts)
    logits = rng.normal(size=(n_texts, n_classes)).astype(np.float32)
    logits[np.arange(n_texts), truth] += 2
    return Report.of_logits(logits, truth, Classes(np.array(names), False), training), truth, logits


def test_numbers_are_those_of_sklearn():
    report, truth, logits = make_report(5, 200)
    predicted = logits.argmax(axis=1)
    assert report.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert report.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert report.loss == pytest.approx(log_loss(truth, probabilities(logits, False)), rel=1e-6)
    np.testing.assert_array_equal(report.confusion, confusion_matrix(truth, predicted))
    assert [row["support"] for row in report.per_class] == np.bincount(truth).tolist()
    f1 = f1_score(truth, predicted, average=None)
    np.testing.assert_allclose([row["f1"] for row in report.per_class], f1)


def test_worst_pairs_are_the_largest_errors():
    report, _, _ = make_report(4, 300)
    pairs = report.worst_pairs(3)
    counts = [count for _, _, count in pairs]
    errors = report.confusion.copy()
    np.fill_diagonal(errors, 0)
    assert counts == sorted(errors.ravel(), reverse=True)[:3]
    index = {name: i for i, name in enumerate(report.classes)}
    assert all(report.confusion[index[t], index[p]] == n and t != p for t, p, n in pairs)


def test_a_class_that_does_not_occur_is_listed_with_no_support():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 0]]
    report = Report.of_logits(logits, np.array([0, 1, 0]), Classes(np.array(["a", "b", "c"]), False))
    assert report.per_class[2]["support"] == 0
    assert report.macro_f1 == 1.0
    assert report.worst_pairs() == []


def test_json_round_trip(fitted):
    report = fitted.report_
    again = Report.from_dict(json.loads(json.dumps(report.to_dict())))
    assert repr(again) == repr(report)
    np.testing.assert_array_equal(again.confusion, report.confusion)
    assert again.training == report.training


def test_repr_of_many_classes_shows_the_weakest():
    report, _, _ = make_report(77, 2000)
    assert "the 20 of 77 classes with the lowest f1" in repr(report)
    assert len(repr(report).splitlines()) < 45
    weakest = min(report.per_class, key=lambda row: row["f1"])
    assert weakest["label"] in repr(report)


def test_repr_tells_the_facts_of_training(fitted):
    text = repr(fitted.report_)
    for part in ("accuracy", "macro f1", "tokens/s", "peak memory", "weights kept", "parameters"):
        assert part in text
    assert fitted.report_.elapsed_s > 0
    assert fitted.report_.parameters >= fitted.report_.trainable_parameters > 0


def test_html_escapes_the_labels():
    report, _, _ = make_report(2, 60, names=["<script>alert(1)</script>", "a & 'b'"])
    html = report._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp;" in html


@pytest.mark.parametrize("n_classes", [2, 8, 77])
def test_plot_writes_every_count_where_it_belongs(n_classes):
    report, _, _ = make_report(n_classes, 40 * n_classes)
    axis = report.plot()
    written = {tuple(int(v) for v in t.get_position()[::-1]): int(t.get_text()) for t in axis.texts}
    expected = {(int(r), int(c)): int(report.confusion[r, c]) for r, c in np.argwhere(report.confusion)}
    assert written == expected
    axis.figure.savefig(io.BytesIO(), dpi=40)


def test_plot_of_nothing_says_what_to_do(make, texts, labels):
    with pytest.raises(ValueError, match=r"estimator.evaluate\(texts, labels\)"):
        make(epochs=1).fit(texts, labels).report_.plot()


def test_the_report_of_a_solved_head_tells_its_penalty_and_no_epochs(backbone, texts, labels):
    clf = ws.TextClassifier(backbone, strategy=ws.LinearProbing(), verbose=False)
    told = repr(clf.fit(texts, labels, eval_set=(texts, labels)).report_)
    assert f"with a penalty of {clf.report_.training['l2']:.2g}" in told
    assert "epoch" not in told.split("chosen")[0] and "weights kept" not in told
