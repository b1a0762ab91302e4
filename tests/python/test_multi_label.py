"""`TextClassifier(multi_label=True)`: any number of labels a text."""

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, GOOD, PLAIN, make_texts

NAMES = ["bad", "good", "plain"]


@pytest.fixture(scope="module")
def data():
    """Texts that join two texts of one class each, and the 0/1 matrix of the classes in them."""
    left, a = make_texts(36, [BAD, GOOD, PLAIN])
    right, b = make_texts(36, [BAD, GOOD, PLAIN], seed=5)
    right, b = right[::-1], b[::-1]
    matrix = np.zeros((36, 3), dtype=np.int64)
    matrix[np.arange(36), a] = 1
    matrix[np.arange(36), b] = 1
    return [f"{x} {y}" for x, y in zip(left, right, strict=True)], matrix


def test_a_matrix_is_learnt(make, data):
    texts, matrix = data
    clf = make(multi_label=True, epochs=40).fit(texts, matrix, eval_set=(texts, matrix))
    predicted = clf.predict(texts)
    assert predicted.shape == (36, 3)
    assert predicted.dtype == np.int64
    assert np.mean(predicted == matrix) > 0.9
    assert clf.score(texts, matrix) == pytest.approx(np.mean((predicted == matrix).all(axis=1)))
    assert clf.classes_.tolist() == [0, 1, 2]


def test_probabilities_are_independent_and_split_at_one_half(make, data):
    texts, matrix = data
    clf = make(multi_label=True).fit(texts, matrix)
    probabilities = clf.predict_proba(texts)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    np.testing.assert_array_equal(probabilities > 0.5, clf.predict(texts) == 1)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-clf.decision_function(texts).astype(float))), rtol=1e-6)


def test_lists_of_names_equal_the_matrix(make, data):
    texts, matrix = data
    names = [[NAMES[i] for i in np.flatnonzero(row)] for row in matrix]
    a = make(multi_label=True).fit(texts, matrix)
    b = make(multi_label=True).fit(texts, names, eval_set=(texts, names))
    assert b.classes_.tolist() == NAMES
    np.testing.assert_array_equal(a.predict_proba(texts[:4]).shape, b.predict_proba(texts[:4]).shape)
    assert b.score(texts, names) == b.score(texts, matrix)
    assert [row["label"] for row in b.evaluate(texts, names).per_class] == NAMES


def test_a_text_may_have_no_label(make, data):
    texts, matrix = data
    matrix = matrix.copy()
    matrix[0] = 0
    make(multi_label=True, epochs=1).fit(texts, matrix)


def test_the_report_has_no_confusion_and_plots_bars(make, data):
    texts, matrix = data
    report = make(multi_label=True).fit(texts, matrix, eval_set=(texts, matrix)).report_
    assert report.confusion is None
    assert report.worst_pairs() == []
    assert len(report.plot().patches) == 3


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_metrics_agree_with_the_report(make, data, metric):
    texts, matrix = data
    clf = make(multi_label=True, metric=metric).fit(texts, matrix, eval_set=(texts, matrix))
    kept = next(row for row in clf.history_.rows if row["step"] == clf.history_.best_step)
    found = clf.report_.loss if metric == "loss" else getattr(clf.report_, metric)
    assert found == pytest.approx(kept["eval_loss" if metric == "loss" else metric], rel=1e-4)


def test_class_weights_are_taken(make, data):
    texts, matrix = data
    for weight in ("balanced", {0: 2.0, 2: 0.5}):
        make(multi_label=True, class_weight=weight, epochs=1).fit(texts, matrix)


@pytest.mark.filterwarnings("ignore:.* text:UserWarning")  # labels that no text has, or one
def test_texts_without_any_label_weigh_as_others_do(make, data):
    texts, matrix = data
    one = np.zeros_like(matrix)
    one[0, 0] = 1
    weighted, plain = (make(multi_label=True, class_weight=w, epochs=1).fit(texts, one) for w in ("balanced", None))
    np.testing.assert_array_equal(weighted.predict_proba(texts), plain.predict_proba(texts))
    some = np.where(np.arange(36)[:, None] % 2, matrix, 0)
    make(multi_label=True, class_weight="balanced", epochs=1).fit(texts, some)


def test_flat_labels_are_refused(make, data):
    with pytest.raises(TypeError, match=r"multi_label=True expects a list of labels"):
        make(multi_label=True).fit(data[0], ["a"] * 36)


def test_the_fitted_model_does_not_follow_the_parameter(make, data):
    texts, matrix = data
    clf = make(multi_label=True, epochs=1).fit(texts, matrix)
    clf.set_params(multi_label=False)
    assert clf.predict(texts).shape == (36, 3)


def test_save_and_load_keep_the_labels(make, data, tmp_path):
    texts, matrix = data
    names = [[NAMES[i] for i in np.flatnonzero(row)] for row in matrix]
    clf = make(multi_label=True, epochs=1).fit(texts, names)
    clf.save(tmp_path / "m")
    again = ws.load(tmp_path / "m")
    assert again.classes_.tolist() == NAMES
    np.testing.assert_array_equal(again.predict_proba(texts), clf.predict_proba(texts))


def test_names_of_columns_are_kept_in_their_order(make, data, tmp_path):
    pd = pytest.importorskip("pandas")
    texts, matrix = data
    table = pd.DataFrame(matrix, columns=["sport", "art", "music"])
    clf = make(multi_label=True, epochs=5).fit(texts, table, eval_set=(texts, table[["art", "music", "sport"]]))
    assert clf.classes_.tolist() == ["sport", "art", "music"]
    assert clf.score(texts, table) == clf.score(texts, matrix) == clf.report_.accuracy
    unnamed = make(multi_label=True, epochs=5).fit(texts, matrix, eval_set=(texts, matrix))
    np.testing.assert_array_equal(clf.predict_proba(texts), unnamed.predict_proba(texts))
    clf.save(tmp_path / "m")
    again = ws.load(tmp_path / "m")
    assert again.classes_.tolist() == ["sport", "art", "music"]
    assert again.score(texts, table[["music", "art", "sport"]]) == clf.score(texts, table)


def test_columns_with_numbers_are_scored_by_them(make, data):
    pd = pytest.importorskip("pandas")
    texts, matrix = data
    table = pd.DataFrame(matrix)
    clf = make(multi_label=True, epochs=5).fit(texts, table)
    assert clf.score(texts, table) == clf.score(texts, table[[2, 0, 1]]) == clf.score(texts, matrix) > 0
    turned = make(multi_label=True, epochs=5).fit(texts, table[[2, 0, 1]])
    assert turned.classes_.tolist() == [2, 0, 1]
    assert turned.score(texts, table) == turned.score(texts, table[[2, 0, 1]]) > 0


def test_a_column_that_is_missing_is_named(make, data):
    pd = pytest.importorskip("pandas")
    texts, matrix = data
    table = pd.DataFrame(matrix, columns=NAMES)
    clf = make(multi_label=True, epochs=1).fit(texts, table)
    with pytest.raises(
        ValueError, match=r"has 2 columns, but the model has 3 classes; without \['plain'\], beyond them \[\]"
    ):
        clf.score(texts, table[["bad", "good"]])


def test_macro_f1_leaves_out_classes_that_occur_nowhere():
    from warmstart.scores import macro_f1

    matrix = np.array([[1, 0], [1, 0]])
    assert macro_f1(matrix, matrix) == 1.0
    assert macro_f1(matrix * 0, matrix * 0) == 0.0
