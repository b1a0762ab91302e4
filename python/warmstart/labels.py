"""Conversion between labels and class indices.

One label per text gives indices ``[N]``; several labels per text (multi-label) give a 0/1 matrix ``[N, C]``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.texts import is_missing, to_list

Label = str | int | bool
Targets = NDArray[np.int64] | NDArray[np.float32]

_COLLECTIONS = (list, tuple, set, frozenset, np.ndarray)

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of a fitted model.

    Attributes
    ----------
    values : ndarray of shape (C,)
        The labels, sorted, or in the order of the columns of a table that names them; str, int64 or bool.
    multi_label : bool
        Whether each text has any number of labels instead of exactly one.
    """

    values: NDArray[Any]
    multi_label: bool

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def learn(cls, labels: Any, n_texts: int, multi_label: bool) -> "Classes":
        """Find the classes that occur in the labels.

        Parameters
        ----------
        labels : sequence
            N labels; for multi-label a 0/1 matrix ``[N, C]``, whose column names, if it has any, are the classes, or N
            collections of labels.
        n_texts : int
            N, the number of texts they belong to.
        multi_label : bool
            Whether each text has any number of labels.

        Raises
        ------
        TypeError
            A label is no str, int or bool, or they are of several kinds.
        ValueError
            A label is missing, their number is wrong, or there is only one class.
        """
        if multi_label and is_indicator(labels):
            n_columns, names = _indicator(labels, n_texts, "labels").shape[1], column_names(labels, "labels")
            return cls(
                np.arange(n_columns) if names is None else np.array(names, _dtype(names, "labels.columns")), True
            )
        if multi_label:
            rows = _label_sets(labels, n_texts, "labels")
            values = _unique([label for row in rows for label in row], "labels")
            if not len(values):
                raise ValueError(f"none of the {n_texts} texts has a label; expected at least one label in all")
            return cls(values, True)
        values = _unique(_single_labels(labels, n_texts, "labels"), "labels")
        if len(values) < 2:
            raise ValueError(
                f"all {n_texts} labels are {values[0].item()!r}; a classifier needs at least two classes to tell apart"
            )
        return cls(values, False)

    def encode(self, labels: Any, n_texts: int, name: str = "labels") -> Targets:
        """Convert labels to targets for the core.

        Returns
        -------
        ndarray
            Class indices int64 ``[N]``, or for multi-label 0/1 float32 ``[N, C]``.

        Raises
        ------
        DataError
            A label is not among the classes.
        TypeError, ValueError
            As `learn`.
        """
        if self.multi_label and is_indicator(labels):
            matrix = _indicator(labels, n_texts, name)
            names = column_names(labels, name)
            if matrix.shape[1] != len(self):
                message = f"{name} has {matrix.shape[1]} columns, but the model has {len(self)} classes"
                if names is not None:
                    known = self.values.tolist()
                    missing = [label for label in known if label not in names]
                    extra = [column for column in names if column not in known]
                    message += f"; without {missing[:5]}, beyond them {extra[:5]}"
                raise ValueError(message)
            return np.ascontiguousarray(matrix[:, self._order(names, name)])
        index_of = {label: i for i, label in enumerate(self.values.tolist())}
        if self.multi_label:
            rows = _label_sets(labels, n_texts, name)
            self._refuse_unknown([label for row in rows for label in row], index_of, name)
            targets = np.zeros((n_texts, len(self)), dtype=np.float32)
            for row, own in enumerate(rows):
                targets[row, [index_of[label] for label in own]] = 1
            return targets
        items = _single_labels(labels, n_texts, name)
        self._refuse_unknown(items, index_of, name)
        return np.fromiter((index_of[label] for label in items), dtype=np.int64, count=n_texts)

    def read(self, labels: Any, n_texts: int, name: str = "labels") -> NDArray[Any]:
        """Return one label per text as an array ``[N]``, whether or not it is a known class; errors as in `learn`."""
        return np.array(_single_labels(labels, n_texts, name), dtype=None if n_texts else self.values.dtype)

    def decode(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Convert class indices ``[N]`` to labels ``[N]``, or a 0/1 matrix ``[N, C]`` to int64."""
        return targets.astype(np.int64) if self.multi_label else self.values[targets]

    @property
    def names(self) -> list[str]:
        """The names of the outputs in ``config.json``."""
        return [str(label) for label in self.values.tolist()]

    def label_sets(self, targets: NDArray[Any]) -> list[list[int]]:
        """Return the class indices of each text, for the stratified split of `hold_out`."""
        rows: list[list[int]] = targets[:, None].tolist()
        return [np.flatnonzero(row).tolist() for row in targets] if self.multi_label else rows

    def metadata(self) -> dict[str, Any]:
        """Return the classes, with the type of the labels, as ``warmstart.json`` stores them."""
        kind = {"U": "str", "b": "bool"}.get(self.values.dtype.kind, "int")
        return {"classes": {"kind": kind, "values": self.values.tolist(), "multi_label": self.multi_label}}

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> "Classes":
        """Undo `metadata`."""
        data = metadata["classes"]
        dtype = {"str": np.str_, "bool": np.bool_, "int": np.int64}[data["kind"]]
        return cls(np.array(data["values"], dtype=dtype), bool(data["multi_label"]))

    def _order(self, names: list[Label] | None, name: str) -> list[int]:
        """Return the column of each class: by name if the names agree, by position if one side has numbers or none."""
        known = self.values.tolist()
        if names is not None and set(map(_kind_and_value, names)) == set(map(_kind_and_value, known)):
            return [names.index(label) for label in known]
        if names is not None and not _are_numbered(known) and not _are_numbered(names):
            raise _core.DataError(
                f"{name} has the columns {_some(names)}, but the classes are {_some(known)}; name its columns so, or "
                f"pass its values alone, in that order"
            )
        return list(range(len(known)))

    def _refuse_unknown(self, labels: list[Label], index_of: dict[Label, int], name: str) -> None:
        unknown = list(dict.fromkeys(label for label in labels if label not in index_of))
        if unknown:
            raise _core.DataError(
                f"{name} holds {_some(unknown)}, which the training labels do not; known are "
                f"{_some(self.values.tolist())}. Drop those texts, or add such labels to the training set"
            )


def is_indicator(labels: Any) -> bool:
    """Tell whether labels are a matrix: a two-dimensional array, a data frame or a sparse matrix.

    A single column of lists is no matrix.
    """
    n_columns = _n_columns(labels)
    if n_columns == 1:
        return not any(isinstance(item, _COLLECTIONS) for item in _column(labels, "labels"))
    return n_columns is not None


def is_unnamed_matrix(labels: Any) -> bool:
    """Tell whether labels are a matrix whose columns have no names."""
    return is_indicator(labels) and column_names(labels, "labels") is None


def _n_columns(labels: Any) -> int | None:
    shape = getattr(labels, "shape", None)
    return shape[1] if isinstance(shape, tuple) and len(shape) == 2 else None


def _column(labels: Any, name: str) -> list[Any]:
    """Return labels as a list: a one-dimensional container, or a table or matrix with a single column."""
    n_columns = _n_columns(labels)
    if n_columns is None:
        return to_list(labels, name)
    if n_columns != 1:
        raise TypeError(
            f"{name} has {n_columns} columns; pass the one that holds the labels, or for several labels a text set "
            f"multi_label=True"
        )
    return list(_dense(labels, name)[:, 0].tolist())


def _dense(labels: Any, name: str) -> NDArray[Any]:
    dense = np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)
    if dense.ndim != 2:
        kind = type(labels).__name__
        raise TypeError(f"{name} is a {kind}, whose values are no matrix; pass one of its columns, as in data['label']")
    return dense


def column_names(labels: Any, name: str) -> list[Label] | None:
    """Return the column names of a table; None for other containers."""
    # For an Arrow table `columns` holds the columns themselves.
    own = getattr(labels, "column_names", None)
    own = own if isinstance(own, list) else getattr(labels, "columns", None)
    if own is None:
        return None
    for column in own:
        if not isinstance(column, str | int | np.integer):
            raise TypeError(
                f"{name} has a column called {column!r} ({type(column).__name__}); classes are str, int or bool. "
                f"Rename its columns, or pass its values alone: np.asarray({name})"
            )
    names = [_label(column, f"a column of {name}") for column in own]
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise ValueError(f"{name} has two columns called {twice!r}; each has a name of its own")
    return names


def _are_numbered(labels: list[Label]) -> bool:
    """Tell whether labels are the numbers from 0 on, which stand for positions."""
    return list(map(_kind_and_value, labels)) == [(int, i) for i in range(len(labels))]


def _kind_and_value(label: Label) -> tuple[type, Label]:
    """Return a key that distinguishes False from 0, which are equal in Python."""
    return type(label), label


def _indicator(labels: Any, n_texts: int, name: str) -> NDArray[np.float32]:
    dense = _dense(labels, name)
    _check_length(len(dense), n_texts, name)
    if not dense.shape[1]:
        raise ValueError(f"{name} has shape {dense.shape}; at least one column is expected")
    # Check for missing values first: pandas' NA cannot be compared with 0 and 1.
    missing = np.vectorize(is_missing, otypes=[bool])(dense) if dense.dtype == object else dense != dense
    bad = np.argwhere(missing if missing.any() else ~np.isin(dense, (0, 1)))
    if len(bad):
        row, column = bad[0].tolist()
        value = dense[row, column]
        if missing[row, column]:
            raise ValueError(f"{name}[{row}, {column}] is missing ({value}); fill it in or drop the text")
        raise ValueError(f"{name}[{row}, {column}] is {value!r}; a multi-label matrix holds 0 and 1 only")
    return np.ascontiguousarray(dense, dtype=np.float32)


def _label_sets(labels: Any, n_texts: int, name: str) -> list[list[Label]]:
    items = _column(labels, name)
    _check_length(len(items), n_texts, name)
    rows = []
    for index, item in enumerate(items):
        if is_missing(item):
            raise ValueError(f"{name}[{index}] is missing ({item}); give an empty list where a text has no label")
        if isinstance(item, str | bytes) or not hasattr(item, "__iter__"):
            raise TypeError(
                f"{name}[{index}] is {item!r}; multi_label=True expects a list of labels per text, or a 0/1 array "
                "of shape (n_texts, n_classes)"
            )
        row = [_label(label, f"{name}[{index}]") for label in item]
        if len(set(row)) < len(row):
            raise ValueError(f"{name}[{index}] names a label twice: {row}; pass a 0/1 matrix as np.asarray({name})")
        rows.append(row)
    width = len(rows[0]) if rows else 0
    if width > 1 and all(len(row) == width and set(row) <= {0, 1} for row in rows):
        raise ValueError(f"{name} looks like a 0/1 matrix given as lists; pass a matrix as np.asarray({name})")
    return rows


def _single_labels(labels: Any, n_texts: int, name: str) -> list[Label]:
    items = _column(labels, name)
    _check_length(len(items), n_texts, name)
    # Check for missing values first: they turn the integers beside them into floats, which would be reported instead.
    for index, item in enumerate(items):
        if is_missing(item):
            raise ValueError(f"{name}[{index}] is missing ({item}); give every text a label or drop it")
    for index, item in enumerate(items):
        if isinstance(item, float) and not item.is_integer():
            raise TypeError(
                f"{name}[{index}] is {item!r} (float); labels are str, int or bool: a classifier learns kinds, not "
                "amounts. Make classes of them"
            )
    return [_label(item, f"{name}[{index}]") for index, item in enumerate(items)]


def _label(item: Any, where: str) -> Label:
    item = _plain(item)
    if isinstance(item, int) and not -(2**63) <= item < 2**63:
        raise ValueError(f"{where} is {item}; integers from -2**63 to 2**63 - 1 are labels. Pass larger ones as str")
    if isinstance(item, str | int):
        return item
    if is_missing(item):
        raise ValueError(f"{where} is missing ({item}); give every text a label or drop it")
    if isinstance(item, _COLLECTIONS):
        raise TypeError(f"{where} is a {type(item).__name__}; for several labels a text set multi_label=True")
    whole = isinstance(item, float) and item.is_integer()
    advice = "; whole numbers become int by numpy.asarray(labels, int)" if whole else ""
    raise TypeError(f"{where} is {item!r} ({type(item).__name__}); labels are str, int or bool{advice}")


def _plain(item: Any) -> Any:
    """Return a plain str or int for NumPy's scalars, members of ``class Kind(str, Enum)`` and the like."""
    if isinstance(item, np.generic):
        item = item.item()
    if isinstance(item, str):
        return str.__str__(item)  # str() would give the name of an enumeration's member, not its value
    return int(item) if isinstance(item, int) and not isinstance(item, bool) else item


def _unique(labels: list[Label], name: str) -> NDArray[Any]:
    dtype = _dtype(labels, name)
    return np.array(sorted(set(labels)), dtype=dtype)


def _dtype(labels: list[Label], name: str) -> type[np.generic]:
    kinds = {type(label).__name__ for label in labels}
    if len(kinds) > 1:
        raise TypeError(f"{name} mixes {' and '.join(sorted(kinds))}; make them all of one kind")
    return {"int": np.int64, "bool": np.bool_}.get("".join(kinds), np.str_)


def _check_length(n_labels: int, n_texts: int, name: str) -> None:
    if n_labels != n_texts:
        raise ValueError(f"{name} has {n_labels} entries for {n_texts} texts; every text needs exactly one")


def _some(labels: list[Label]) -> str:
    shown = ", ".join(map(repr, labels[:_SHOWN]))
    return f"{shown} and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else shown
