"""Labels to indices and back."""

from enum import Enum, IntEnum, StrEnum

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
    again = Classes.from_metadata(classes.metadata())
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


class Kind(str, Enum):
    """Its str() is ``Kind.B``, its value ``b``."""

    B = "b"
    A = "a"


@pytest.mark.parametrize(
    ("members", "values"),
    [
        (Kind, ["a", "b"]),
        (StrEnum("Named", {"B": "b", "A": "a"}), ["a", "b"]),
        (IntEnum("Numbered", {"B": 2, "A": 1}), [1, 2]),
    ],
)
def test_members_of_enumerations_are_their_values(members, values):
    labels = [members.B, members.A, members.B]
    for container in (labels, np.array(labels, dtype=object)):
        classes = Classes.learn(container, 3, multi_label=False)
        assert {type(label) for label in classes.metadata()["classes"]["values"]} == {type(values[0])}
        assert classes.values.tolist() == values
        assert classes.decode(classes.encode(container, 3)).tolist() == labels
        assert classes.read(container, 3).tolist() == labels
        assert classes.encode([members.A, values[1], values[0]], 3).tolist() == [0, 1, 0]
    sets = [[members.B], [], [members.A, members.B]]
    assert Classes.learn(sets, 3, multi_label=True).encode(sets, 3).tolist() == [[0, 1], [0, 0], [1, 1]]


def test_members_of_enumerations_go_through_fit_predict_and_save(make, texts, tmp_path):
    labels = [Kind.B, Kind.A] * 8
    fitted = make(class_weight={Kind.A: 1.5}, epochs=20).fit(texts, labels, eval_set=(texts, labels))
    assert fitted.predict(texts).tolist() == labels
    assert fitted.score(texts, labels) == fitted.report_.accuracy == 1
    fitted.save(tmp_path / "model")
    loaded = ws.load(tmp_path / "model")
    assert loaded.classes_.tolist() == ["a", "b"]
    assert loaded.class_weight == {"a": 1.5}
    assert (loaded.predict(texts) == fitted.predict(texts)).all()
    assert '"Kind' not in (tmp_path / "model" / "config.json").read_text()


def tables_of(columns):
    """The same table of pandas, polars and pyarrow."""
    pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    return pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns)


def test_a_table_of_one_column_is_that_column():
    sparse = pytest.importorskip("scipy.sparse")
    for values in (["b", "a"], [2, 1], [True, False]):
        for labels in (*tables_of({"label": values}), np.array(values)[:, None]):
            classes = Classes.learn(labels, 2, multi_label=False)
            assert classes.values.tolist() == sorted(values)
            assert classes.decode(classes.encode(labels, 2)).tolist() == classes.read(labels, 2).tolist() == values
    assert Classes.learn(sparse.csr_matrix([[1], [0]]), 2, multi_label=False).values.tolist() == [0, 1]
    for labels in tables_of({"label": [["b"], ["a", "b"]]}):
        classes = Classes.learn(labels, 2, multi_label=True)
        assert classes.values.tolist() == ["a", "b"]
        assert classes.encode(labels, 2).tolist() == [[0, 1], [1, 1]]
    for labels in tables_of({"label": ["a", None]}):
        with pytest.raises(ValueError, match=r"labels\[1\] is missing"):
            Classes.learn(labels, 2, multi_label=False)


def test_a_table_of_several_columns_is_told_what_to_do():
    for labels in (*tables_of({"a": [0, 1], "b": [1, 0]}), np.eye(2)):
        with pytest.raises(TypeError, match=r"labels has 2 columns; pass the one that holds.*multi_label=True"):
            Classes.learn(labels, 2, multi_label=False)


def test_columns_with_names_are_the_classes_in_their_order():
    for labels in tables_of({"sport": [1, 0, 0], "art": [0, 1, 0]}):
        classes = Classes.learn(labels, 3, multi_label=True)
        assert classes.values.tolist() == ["sport", "art"]
        assert Classes.from_metadata(classes.metadata()).values.tolist() == ["sport", "art"]
        matrix = np.array([[1, 0], [0, 1], [0, 0]])
        np.testing.assert_array_equal(classes.encode(labels, 3), matrix)
        np.testing.assert_array_equal(classes.encode(matrix, 3), matrix)
        np.testing.assert_array_equal(classes.encode([["sport"], ["art"], []], 3), matrix)
        for turned in tables_of({"art": [0, 1, 0], "sport": [1, 0, 0]}):
            encoded = classes.encode(turned, 3)
            assert encoded.flags.c_contiguous
            np.testing.assert_array_equal(encoded, matrix)
        for other in tables_of({"art": [0, 1, 0], "music": [1, 0, 0]}):
            with pytest.raises(ws.DataError, match="columns 'art', 'music', but the classes are 'sport', 'art'"):
                classes.encode(other, 3)
    unnamed = Classes.learn(matrix, 3, multi_label=True)
    assert unnamed.values.tolist() == [0, 1]
    np.testing.assert_array_equal(unnamed.encode(labels, 3), matrix)


def test_columns_with_numbers_are_matched_by_them_in_any_order():
    pd = pytest.importorskip("pandas")
    matrix = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0]])
    for names in ([0, 1, 2], [2, 0, 1], [7, 3, 5]):
        table = pd.DataFrame(matrix, columns=names)
        classes = Classes.learn(table, 3, multi_label=True)
        assert classes.values.tolist() == names
        for turned in (table, table[names[::-1]], table[sorted(names)]):
            np.testing.assert_array_equal(classes.encode(turned, 3), matrix)
        np.testing.assert_array_equal(classes.encode(matrix, 3), matrix)
    # Numbers from 0 on are names beside the same numbers only; beside others they are places.
    named = Classes.learn(pd.DataFrame(matrix, columns=["a", "b", "c"]), 3, multi_label=True)
    np.testing.assert_array_equal(named.encode(pd.DataFrame(matrix), 3), matrix)
    numbered = Classes.learn(matrix, 3, multi_label=True)
    for names in (["a", "b", "c"], [5, 6, 7], [1, 2, 3]):
        np.testing.assert_array_equal(numbered.encode(pd.DataFrame(matrix, columns=names), 3), matrix)


def test_columns_called_false_and_true_are_not_numbers():
    pd = pytest.importorskip("pandas")
    matrix = np.array([[1, 0], [1, 0], [0, 1]])
    table = pd.DataFrame(matrix, columns=[False, True])
    classes = Classes.learn(table, 3, multi_label=True)
    assert classes.values.tolist() == [False, True]
    assert classes.values.dtype == bool
    np.testing.assert_array_equal(classes.encode(table.iloc[:, ::-1], 3), matrix)
    np.testing.assert_array_equal(classes.encode(matrix, 3), matrix)
    np.testing.assert_array_equal(classes.encode(pd.DataFrame(matrix, columns=[0, 1]), 3), matrix)
    with pytest.raises(ws.DataError, match="labels has the columns 1, 0, but the classes are False, True"):
        classes.encode(pd.DataFrame(matrix, columns=[1, 0]), 3)


@pytest.mark.parametrize(
    ("names", "error", "match"),
    [
        (["a", "a"], ValueError, "labels has two columns called 'a'"),
        (["a", 1], TypeError, "labels.columns mixes int and str"),
        ([("a", 1), ("a", 2)], TypeError, r"labels has a column called \('a', 1\).*np.asarray\(labels\)"),
        ([0.5, 1.5], TypeError, "labels has a column called 0.5"),
        ([2**63, 1], ValueError, "a column of labels is 9223372036854775808"),
    ],
)
def test_columns_that_name_no_classes_are_refused(names, error, match):
    pd = pytest.importorskip("pandas")
    with pytest.raises(error, match=match):
        Classes.learn(pd.DataFrame(np.eye(2), columns=names), 2, multi_label=True)
    assert Classes.learn(pd.DataFrame(np.eye(2), columns=[7, 3]), 2, multi_label=True).values.tolist() == [7, 3]


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
        ([1, 2, 2**63], ValueError, r"labels\[2\] is 9223372036854775808; integers.*as str"),
        (np.array([2**63, 2, 1], dtype=np.uint64), ValueError, r"labels\[0\] is 9223372036854775808"),
        ([1, 2, -(2**63) - 1], ValueError, r"labels\[2\] is -9223372036854775809"),
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
    with pytest.raises(ValueError, match=r"labels\[0, 1\] is missing \(<NA>\)"):
        Classes.learn(pd.DataFrame([[1, pd.NA], [0, 1]], dtype="Int64"), 2, multi_label=True)


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
