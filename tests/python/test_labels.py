"""Labels to indices and back."""

import numpy as np
import pytest
import warmstart as ws
from hypothesis import given
from hypothesis import strategies as st
from warmstart.labels import Classes


@given(
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2),
        st.lists(st.booleans(), min_size=2),
        st.lists(st.text("abcdé ", min_size=1), min_size=2),
    ).filter(lambda labels: len(set(labels)) > 1)
)
def test_encode_then_decode_gives_the_labels_back(labels):
    classes = Classes.learn(labels, len(labels), multi_label=False)
    indices = classes.encode(labels, len(labels))
    assert indices.dtype == np.int64
    assert classes.decode(indices).tolist() == labels
    assert classes.values.tolist() == sorted(set(labels))
    again = Classes.from_json(classes.to_json())
    assert again.values.dtype == classes.values.dtype
    assert again.values.tolist() == classes.values.tolist()


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["b", "a"], "U"),
        ([2, 1], "i"),
        ([True, False], "b"),
        (np.array([2, 1], dtype=np.uint8), "i"),
        (np.array(["b", "a"], dtype=object), "U"),
        (np.array([True, False]), "b"),
    ],
)
def test_classes_keep_the_kind_of_the_labels(labels, kind):
    assert Classes.learn(labels, 2, multi_label=False).values.dtype.kind == kind


def test_series_of_pandas_and_polars_are_read():
    pd, pl = map(pytest.importorskip, ("pandas", "polars"))
    for labels in (pd.Series(["b", "a"], index=[5, 4]), pd.Series(["b", "a"], dtype="category"), pl.Series(["b", "a"])):
        assert Classes.learn(labels, 2, multi_label=False).encode(labels, 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        (["a", "b"], ValueError, "labels has 2 entries for 3 texts"),
        (["a", "b", "a", "b"], ValueError, "labels has 4 entries for 3 texts"),
        (["a", "a", "a"], ValueError, "all 3 labels are 'a'.*at least two classes"),
        (["a", None, "b"], ValueError, r"labels\[1\] is missing \(None\)"),
        (["a", "b", float("nan")], ValueError, r"labels\[2\] is missing \(nan\)"),
        ([0.0, 1.0, 1.0], TypeError, r"labels\[0\] is 0.0 \(float\)"),
        ([b"a", "b", "a"], TypeError, r"labels\[0\] is b'a'"),
        (["a", 1, "a"], TypeError, "labels mixes int and str"),
        ([True, 1, 0], TypeError, "labels mixes bool and int"),
        ([["a"], ["b"], []], TypeError, "multi_label=True"),
        ("aba", TypeError, "labels is one str"),
        (None, TypeError, "labels is a NoneType"),
    ],
)
def test_bad_labels_are_named(labels, error, match):
    with pytest.raises(error, match=match):
        Classes.learn(labels, 3, multi_label=False)


def test_missing_values_of_pandas_are_named():
    pd = pytest.importorskip("pandas")
    for series in (pd.Series([1, None]), pd.Series([1, pd.NA], dtype="Int64"), pd.Series(["a", None])):
        with pytest.raises(ValueError, match=r"labels\[1\] is missing"):
            Classes.learn(series, 2, multi_label=False)


def test_unknown_labels_are_a_data_error_that_names_them():
    classes = Classes.learn(["a", "b"], 2, multi_label=False)
    with pytest.raises(ws.DataError, match=r"eval_set labels holds 'z', 'y', which.*known are 'a', 'b'"):
        classes.encode(["a", "z", "y", "z"], 4, "eval_set labels")


def test_label_lists_become_a_matrix():
    labels = [["b"], [], ["a", "b"], {"c"}]
    classes = Classes.learn(labels, 4, multi_label=True)
    matrix = classes.encode(labels, 4)
    assert classes.values.tolist() == ["a", "b", "c"]
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_matrices_of_any_make_are_read():
    pd, sparse = map(pytest.importorskip, ("pandas", "scipy.sparse"))
    matrix = np.array([[1, 0, 1], [0, 0, 1]])
    for labels in (
        matrix,
        matrix.astype(bool),
        matrix.astype(np.float64),
        pd.DataFrame(matrix),
        sparse.csr_matrix(matrix),
    ):
        classes = Classes.learn(labels, 2, multi_label=True)
        assert classes.values.tolist() == [0, 1, 2]
        encoded = classes.encode(labels, 2)
        assert encoded.flags.c_contiguous
        np.testing.assert_array_equal(encoded, matrix)


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        (np.array([[0, 2], [1, 0]]), ValueError, r"labels\[0, 1\] is .*0 and 1 only"),
        (np.array([[0, np.nan], [1, 0]]), ValueError, r"labels\[0, 1\] is missing"),
        (np.zeros((3, 2)), ValueError, "labels has 3 entries for 2 texts"),
        (np.zeros((2, 0)), ValueError, r"shape \(2, 0\)"),
        (["a", "b"], TypeError, r"labels\[0\] is 'a'; multi_label=True expects"),
        ([0, 1], TypeError, r"labels\[0\] is 0; multi_label=True expects"),
        ([["a"], None], ValueError, r"labels\[1\] is missing"),
        ([["a"], ["b", None]], ValueError, r"labels\[1\] is missing"),
        ([[0, 0, 1], [1, 0, 0]], ValueError, r"labels\[0\] names a label twice.*np.asarray"),
        ([[], []], ValueError, "none of the 2 texts has a label"),
    ],
)
def test_bad_multi_labels_are_named(labels, error, match):
    with pytest.raises(error, match=match):
        Classes.learn(labels, 2, multi_label=True)


def test_a_matrix_of_another_width_is_refused():
    classes = Classes.learn(np.eye(3), 3, multi_label=True)
    with pytest.raises(ValueError, match="2 columns, but the model has 3 classes"):
        classes.encode(np.eye(2), 2)
