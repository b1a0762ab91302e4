"""Texts from any container, converted to lists of ``str`` and tokenised.

Containers are recognised by their methods (``to_numpy``, ``to_pylist``, ``to_list``), so that pandas, polars,
pyarrow and datasets are never imported.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np

from warmstart import _core
from warmstart.warn import warn

Texts = Any
"""Texts that users may pass: a list or tuple of ``str`` or of pairs of ``str``, a NumPy array, a pandas or polars
Series, an Arrow array, a ``datasets`` column."""


SEVERAL = 3
"""Number of texts per label from which on a column that determines the label is refused as the label itself."""

MANY = 0.25
"""Share of texts that are empty, or mostly unknown words, from which on there is a warning."""


def to_list(values: Any, name: str) -> list[Any]:
    """Return the elements of a one-dimensional container, or the rows of a two-dimensional one.

    Parameters
    ----------
    values : sequence
        The container.
    name : str
        Name of the argument in error messages.

    Raises
    ------
    TypeError
        It is no sequence of elements in a definite order.
    ValueError
        It is an array with no or more than two dimensions.
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"{name} is one {type(values).__name__}; put it in a list: [{str(values)[:30]!r}]")
    if isinstance(values, list | tuple):
        return list(values)
    if hasattr(values, "columns") and hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        if values.ndim not in (1, 2):
            raise ValueError(f"{name} has shape {values.shape}; one or two dimensions are expected")
        return list(values.tolist())
    for method in ("to_pylist", "to_list"):
        if hasattr(values, method):
            return list(getattr(values, method)())
    if isinstance(values, dict | set | frozenset) or not (hasattr(values, "__len__") and hasattr(values, "__iter__")):
        raise TypeError(
            f"{name} is a {type(values).__name__}; expected a list, a NumPy array, a pandas or polars Series, an Arrow "
            f"array or a datasets column"
        )
    return list(values)


def normalise(texts: Texts, name: str = "texts") -> tuple[list[str], list[str] | None]:
    """Return the texts, and their second halves if they are pairs.

    Parameters
    ----------
    texts : sequence of str, or of 2-tuples of str, or array of shape (N, 2)
        Empty strings are texts like any other.
    name : str
        Name of the argument in error messages.

    Returns
    -------
    first : list of str
    second : list of str, or None
        ``None`` where `texts` holds single texts.

    Raises
    ------
    TypeError
        An element is no text; the message names its index.

    Examples
    --------
    >>> normalise(["a", ""])
    (['a', ''], None)
    >>> normalise([("premise", "hypothesis")])
    (['premise'], ['hypothesis'])
    """
    items = _column(texts, to_list(texts, name))
    if not items or not isinstance(items[0], tuple | list):
        if not all(isinstance(item, str) for item in items):
            _raise_not_text(items, name)
        return items, None
    for index, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            if index:
                expected = f"a pair of str, as {name}[0] is one"
            elif all(isinstance(part, str) for part in item):
                expected = "a str or a pair of str: pass one column or two; words are joined, as in ' '.join(words)"
            else:
                expected = "a str or a pair of str: pass one column or two"
            raise TypeError(f"{name}[{index}] is {_describe(item)}; expected {expected}")
        for side, part in enumerate(item):
            if not isinstance(part, str):
                raise TypeError(f"{name}[{index}][{side}] is {_describe(part)}; expected str{_other_than(part)}")
    return [item[0] for item in items], [item[1] for item in items]


def are_pairs(texts: Texts, name: str = "texts") -> bool | None:
    """Tell pairs from single texts; None if there are no texts."""
    items = _column(texts, to_list(texts, name))
    return isinstance(items[0], tuple | list) if items else None


def _column(texts: Texts, items: list[Any]) -> list[Any]:
    """Return the texts of a table or array with a single column, whose rows are `items`; else `items` unchanged."""
    shape = getattr(texts, "shape", None)
    is_column = isinstance(shape, tuple) and len(shape) == 2 and shape[1] == 1
    if not is_column:
        return items
    # Rows of an Arrow table are mappings.
    rows = [list(item.values()) if isinstance(item, dict) else item for item in items]
    return [row[0] if isinstance(row, list) else row for row in rows]


def check_kind(texts: Texts, pairs: bool | None, name: str = "texts") -> None:
    """Refuse pairs if the model was trained on single texts, and the reverse.

    Parameters
    ----------
    texts : sequence
        See `normalise`.
    pairs : bool or None
        Whether it was trained on pairs; None if that is not known.
    name : str
        Name of the argument in error messages.

    Raises
    ------
    ValueError
        The texts are of the other kind.
    """
    found = are_pairs(texts, name)
    if found is None or pairs is None or found == pairs:
        return
    said = ("pairs", "single texts") if found else ("single texts", "pairs")
    hint = "; pass the column of texts alone, as in data['text']" if found else ""
    raise ValueError(f"{name} holds {said[0]}, but {said[1]} were trained on{hint}")


def refuse_labels_beside(texts: Texts, labels: list[Any], name: str = "texts") -> None:
    """Refuse pairs in which one half is the label: the user passed a table that includes the target column.

    Raises
    ------
    ValueError
        One column is the label itself, or determines it one to one, with several texts for each label, while the other
        column has more distinct values.
    """
    first, second = normalise(texts, name)
    if second is None or not all(isinstance(label, Hashable) for label in labels):
        return
    for which, own, other in (("first", first, second), ("second", second, first)):
        n = len(set(labels))
        one_to_one = len(set(zip(own, labels, strict=False))) == len(set(own)) == n
        is_code = one_to_one and n < len(set(other)) and SEVERAL * n <= len(labels)
        if is_code or own == [str(label) for label in labels]:
            raise ValueError(
                f"{name} has the labels as its {which} column; pass the column of texts alone, as data['text']"
            )


def encode(
    backbone: _core.Backbone | _core.Tokenizer,
    texts: Texts,
    max_length: int | None,
    name: str = "texts",
    prompt: str = "",
) -> _core.Encodings:
    """Normalise and tokenise.

    Parameters
    ----------
    backbone : _core.Backbone or _core.Tokenizer
        The object whose tokenizer is used.
    texts : sequence
        See `normalise`.
    max_length : int or None
        Maximum length in tokens, special tokens included; None takes the model's maximum length.
    name : str
        Name of the argument in error messages.
    prompt : str
        Text to put before each text, or before the first text of each pair.

    Returns
    -------
    Encodings
        Encodings of the N texts, in input order.

    Raises
    ------
    TypeError
        An element is no text.
    ValueError
        An element holds a lone surrogate and so is no Unicode text, or `max_length` is more than the model supports.
    """
    first, second = normalise(texts, name)
    if prompt:
        first = [prompt + text for text in first]
    try:
        return backbone.encode(first, second, max_length)
    except UnicodeEncodeError as error:
        for index, text in enumerate(zip(first, second, strict=True) if second is not None else first):
            try:
                "".join(text).encode()
            except UnicodeEncodeError as reason:
                raise ValueError(f"{name}[{index}] is not valid Unicode: {reason}") from error
        raise


def warn_unread(*encodings: _core.Encodings) -> None:
    """Warn of texts that the model does not read in full: truncated, or mostly unknown words; count them."""
    total = sum(map(len, encodings))
    cut = sum(e.n_truncated for e in encodings)
    if cut:
        are, were = ("is", "was") if cut == 1 else ("are", "were")
        source = encodings[0].max_length_source
        message = f"{cut} of {total} texts {are} longer than {encodings[0].max_length} tokens and {were} cut"
        if source:
            message += f"; the limit is {source}, and max_length=... sets another"
        warn(message)
    warn_unknown(sum(e.n_unknown for e in encodings), total)


def warn_empty(encodings: _core.Encodings) -> None:
    """Warn if many of the texts are empty."""
    total, empty = len(encodings), encodings.n_empty
    if empty and empty >= MANY * total:
        are = "is" if total == 1 else "are"
        warn(f"{empty} of {total} texts {are} empty: all such look alike to the model; were they lost on the way?")


def warn_unknown(unknown: int, total: int) -> None:
    """Warn if many of the texts consist mostly of unknown words."""
    if unknown and unknown >= MANY * total:
        warn(
            f"{unknown} of {total} texts {'is' if total == 1 else 'are'} mostly words that the vocabulary lacks: all "
            "look alike to the model; take a model of their language or script"
        )


def _describe(item: Any) -> str:
    if item is None:
        return "None"
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    shown = repr(item)
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} ({type(item).__name__})"


def is_missing(item: Any) -> bool:
    """Tell whether an item is None, NaN or pandas' missing value."""
    return item is None or (isinstance(item, float) and item != item) or type(item).__name__ in ("NAType", "NaTType")


def _other_than(item: Any) -> str:
    """Say what to do about an item that is no str."""
    if is_missing(item):
        return "; drop the missing texts or replace them by ''"
    return "; was another column meant?" if isinstance(item, int | float) else ""


def _raise_not_text(items: list[Any], name: str) -> None:
    index, item = next((i, item) for i, item in enumerate(items) if not isinstance(item, str))
    hint = f"expected str{_other_than(item)}"
    if isinstance(item, bytes | bytearray):
        hint = "expected str; decode it, as in text.decode('utf-8')"
    elif isinstance(item, dict):
        hint = "expected str; pass one column, as in dataset['text']"
    elif isinstance(item, tuple | list):
        hint = f"{name}[0] is a single text, so a str is expected"
    raise TypeError(f"{name}[{index}] is {_describe(item)}; {hint}")
