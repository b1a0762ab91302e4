"""Texts from every container, and what is no text."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from warmstart.texts import normalise

WORDS = ["good film", "", "bad plot"]
PAIRS = [("good film", "a"), ("", "b"), ("bad plot", "")]


def containers():
    pa, pd, pl, datasets = map(pytest.importorskip, ("pyarrow", "pandas", "polars", "datasets"))
    table = datasets.Dataset.from_dict({"text": WORDS})
    return {
        "list": WORDS,
        "tuple": tuple(WORDS),
        "numpy str": np.array(WORDS),
        "numpy object": np.array(WORDS, dtype=object),
        "numpy strings in a list": list(np.array(WORDS)),
        "pandas": pd.Series(WORDS, index=[7, 3, 5]),
        "pandas object": pd.Series(WORDS, dtype=object),
        "pandas string": pd.Series(WORDS, dtype="string"),
        "pandas category": pd.Series(WORDS, dtype="category"),
        "pandas index": pd.Index(WORDS),
        "polars": pl.Series(WORDS),
        "arrow array": pa.array(WORDS),
        "arrow chunks": pa.chunked_array([WORDS[:1], WORDS[1:]]),
        "datasets column": table["text"],
        "datasets slice": table[:]["text"],
    }


@pytest.mark.parametrize("kind", list(containers()))
def test_containers_give_the_same_texts(kind):
    first, second = normalise(containers()[kind])
    assert first == WORDS
    assert second is None


def pair_containers():
    pd, pl = map(pytest.importorskip, ("pandas", "polars"))
    columns = {"a": [a for a, _ in PAIRS], "b": [b for _, b in PAIRS]}
    return {
        "list of tuples": PAIRS,
        "tuple of lists": tuple(map(list, PAIRS)),
        "numpy": np.array(PAIRS),
        "numpy object": np.array(PAIRS, dtype=object),
        "pandas frame": pd.DataFrame(columns),
        "polars frame": pl.DataFrame(columns),
    }


@pytest.mark.parametrize("kind", list(pair_containers()))
def test_pair_containers_give_the_same_pairs(kind):
    first, second = normalise(pair_containers()[kind])
    assert list(zip(first, second, strict=True)) == PAIRS


def test_a_tuple_of_two_texts_is_two_texts():
    assert normalise(("a", "b")) == (["a", "b"], None)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_list_and_object_array_agree(texts):
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    assert normalise(array) == normalise(texts) == (texts, None)


@pytest.mark.parametrize(
    ("item", "match"),
    [
        (None, r"texts\[1\] is None; expected str"),
        (float("nan"), r"texts\[1\] is nan \(float\)"),
        (3, r"texts\[1\] is 3 \(int\)"),
        (2.5, r"texts\[1\] is 2.5 \(float\)"),
        (b"x", r"texts\[1\] is b'x' \(bytes\).*decode"),
        (["x", "y"], r"texts\[1\] is a list of 2"),
        ({"text": "x"}, r"texts\[1\] is .*dataset\['text'\]"),
    ],
)
def test_what_is_no_text_is_named_with_its_index(item, match):
    with pytest.raises(TypeError, match=match):
        normalise(["a", item, "b"])


def test_missing_values_of_pandas_and_polars_are_named():
    pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    for series in (
        pd.Series(["a", None]),
        pd.Series(["a", pd.NA], dtype="string"),
        pl.Series(["a", None]),
        pa.array(["a", None]),
        np.array(["a", np.nan], dtype=object),
    ):
        with pytest.raises(TypeError, match=r"texts\[1\] is "):
            normalise(series)


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ("one text", r"texts is one str; put it in a list: \['one text'\]"),
        (b"bytes", "texts is one bytes"),
        ({"a": 1}, "texts is a dict"),
        ({"a", "b"}, "texts is a set"),
        ((t for t in "ab"), "texts is a generator"),
        (7, "texts is a int"),
        (None, "texts is a NoneType"),
        ([("a", "b"), "c"], r"texts\[1\] is 'c' \(str\); expected a pair"),
        ([("a", "b"), ("c",)], r"texts\[1\] is a tuple of 1"),
        ([("a", None)], r"texts\[0\]\[1\] is None"),
        ([["a"]], r"texts\[0\] is a list of 1; expected a str or a pair"),
    ],
)
def test_what_is_no_sequence_of_texts_is_refused(texts, match):
    with pytest.raises(TypeError, match=match):
        normalise(texts)


def test_an_array_of_three_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"texts has shape \(1, 1, 1\)"):
        normalise(np.array([[["a"]]]))


def test_a_lone_surrogate_is_named(backbone):
    with pytest.raises(ValueError, match=r"texts\[1\] is not valid Unicode"):
        backbone.embed(["fine", "broken \ud800"])


def test_pairs_reach_the_model(backbone):
    alone, paired = backbone.embed(["good film"]), backbone.embed([("good film", "bad plot")])
    assert not np.allclose(alone, paired)
    swapped = backbone.embed([("bad plot", "good film")], pooling="cls")
    assert not np.allclose(swapped, backbone.embed([("good film", "bad plot")], pooling="cls"))


def test_an_empty_string_is_a_text(backbone):
    assert np.isfinite(backbone.embed(["", "a film"])).all()


def test_no_table_library_is_imported():
    libraries = ("pandas", "polars", "pyarrow", "datasets")
    code = f"import sys, warmstart.texts; print([m for m in {libraries} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
