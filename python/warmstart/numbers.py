"""`Numbers`: conversion between real numbers and the targets of a regression head."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.labels import column_names
from warmstart.texts import is_missing, to_list
from warmstart.weights import Weights

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Numbers:
    """The targets of a regression: T numbers of a text.

    The targets are standardised for training, so that a learning rate suits numbers of any size; after training the
    head's last linear layer is scaled back.

    Attributes
    ----------
    names : list of str
        Column names of the table of targets, else ``LABEL_0`` and on, as in transformers.
    is_matrix : bool
        Whether the targets were given as a matrix: predictions then are a matrix, too, even of a single target.
    shift, scale : ndarray of float64, shape (T,)
        Mean and standard deviation of the training set.
    """

    names: list[str]
    is_matrix: bool
    shift: Float
    scale: Float

    @classmethod
    def learn(cls, labels: Any, n_texts: int, weights: Weights | None = None, has_bias: bool = True) -> "Numbers":
        """Compute the mean and standard deviation of the targets.

        Parameters
        ----------
        labels : sequence or matrix
            N numbers, or a matrix or table ``[N, T]``.
        n_texts : int
            N, the number of texts they belong to.
        weights : ndarray, optional
            How much each text counts.
        has_bias : bool
            False if the head has no bias: its outputs cannot be shifted, so targets are only divided by their root mean
            square.

        Raises
        ------
        TypeError
            A value is no number.
        ValueError
            A value is missing or infinite, their number is wrong, or all values of a target are equal.
        """
        values = read(labels, n_texts)
        mean = np.average(values, axis=0, weights=weights)
        if not has_bias:
            mean = np.zeros_like(mean)
        scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
        counted = values if weights is None else values[weights > 0]
        alike = np.flatnonzero((counted == counted[:1]).all(axis=0))
        if len(alike):
            which = f"column {alike[0]} of labels" if values.shape[1] > 1 else "labels"
            raise ValueError(f"{which} is {counted[0, alike[0]]:g} for every text; there is nothing to learn")
        names = column_names(labels, "labels")
        given = [f"LABEL_{i}" for i in range(values.shape[1])] if names is None else [str(name) for name in names]
        is_matrix = values.shape[1] > 1 or (getattr(labels, "ndim", 1) == 2 and names is None)
        return cls(given, is_matrix, mean, scale)

    @classmethod
    def as_they_are(cls, names: list[str], is_matrix: bool) -> "Numbers":
        """Return targets that a head predicts without scaling."""
        return cls(names, is_matrix, np.zeros(len(names)), np.ones(len(names)))

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, labels: Any, n_texts: int, name: str = "labels") -> NDArray[np.float32]:
        """Convert numbers to targets for the core, float32 ``[N, T]``; errors as in `learn`.

        Raises
        ------
        ValueError
            There are more or fewer targets than the model has.
        """
        values = self.read(labels, n_texts, name)
        return np.ascontiguousarray((values - self.shift) / self.scale, dtype=np.float32)

    def read(self, labels: Any, n_texts: int, name: str = "labels") -> Float:
        """Return numbers as they are, float64 ``[N, T]``; errors as in `encode`."""
        values = read(labels, n_texts, name)
        if values.shape[1] != len(self):
            raise ValueError(f"{name} has {values.shape[1]} columns, but the model has {len(self)} targets")
        return values

    def decode(self, outputs: NDArray[Any]) -> Float:
        """Convert outputs of a head in training, ``[N, T]``, to numbers in the units of the targets."""
        return np.asarray(outputs * self.scale + self.shift)

    def shaped(self, values: Float) -> Float:
        """Return numbers ``[N, T]`` in the form of the training targets: ``[N]`` if they were one number per text."""
        return values if self.is_matrix else values[:, 0]

    def label_sets(self, targets: NDArray[Any]) -> list[list[int]]:
        """Return an empty list for each text: any of them may be held out."""
        return [[] for _ in targets]

    def metadata(self) -> dict[str, Any]:
        """Return the names, shift and scale as ``warmstart.json`` stores them."""
        return {
            "targets": {
                "names": self.names,
                "is_matrix": self.is_matrix,
                "shift": self.shift.tolist(),
                "scale": self.scale.tolist(),
            }
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> "Numbers":
        """Undo `metadata`."""
        data = metadata["targets"]
        shift, scale = (np.array(data[name], dtype=np.float64) for name in ("shift", "scale"))
        names = [str(name) for name in data["names"]]
        if not shift.shape == scale.shape == (len(names),):
            raise ValueError(f"{len(names)} targets, shift {shift.tolist()}, scale {scale.tolist()}")
        return cls(names, bool(data["is_matrix"]), shift, scale)


def read(labels: Any, n_texts: int, name: str = "labels") -> Float:
    """Return numbers as float64 ``[N, T]``; errors as in `Numbers.learn`."""
    dense = labels.toarray() if hasattr(labels, "toarray") else labels
    is_table = len(getattr(dense, "shape", ())) == 2
    rows = np.asarray(dense, dtype=object).tolist() if is_table else to_list(dense, name)
    if len(rows) != n_texts:
        raise ValueError(f"{name} has {len(rows)} entries for {n_texts} texts; every text needs exactly one")
    rows = [list(row) if isinstance(row, list | tuple | np.ndarray) else [row] for row in rows]
    width = len(rows[0]) if rows else 1
    if not width:
        raise ValueError(f"{name} has no columns; at least one is expected")
    for i, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"{name}[{i}] has {len(row)} numbers, {name}[0] has {width}; each text needs as many")
        for value in row:
            _check(value, f"{name}[{i}]")
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _check(value: Any, where: str) -> None:
    if is_missing(value):
        raise ValueError(f"{where} is missing ({value}); give every text a number or drop it")
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise TypeError(
            f"{where} is {value!r} ({type(value).__name__}); a regressor learns numbers. TextClassifier learns labels"
        )
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} is {value!r} ({type(value).__name__}); expected a number") from error
    if not np.isfinite(number):
        raise ValueError(f"{where} is {number}; expected a finite number")
