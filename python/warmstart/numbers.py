"""`Numbers`: conversion between real numbers and the targets of a regression head."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.labels import column_names
from warmstart.texts import is_missing, to_list
from warmstart.warn import warn
from warmstart.weights import Weights

Float = NDArray[np.float64]

LARGEST = 1e30
"""Means and deviations beyond this, or below its inverse, do not fit into the float32 of a last map."""

COARSE = 0.01
"""Share of the scale that float32 should tell apart."""

FARTHEST = 1e15
"""Numbers further from the centre, in units of the scale, have squares that add up to more than float32 holds."""

FAR_FROM_ZERO = 3.0
"""Standard deviations of a mean from which on a head without a bias hardly learns."""

NORMAL_QUARTILES = 1.349
"""Distance of the quartiles of a normal distribution, in standard deviations."""


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
        Mean and standard deviation of the labels given to `fit`, or what takes their place.
    """

    names: list[str]
    is_matrix: bool
    shift: Float
    scale: Float

    @classmethod
    def learn(
        cls,
        labels: Any,
        n_texts: int,
        weights: Weights | None = None,
        has_bias: bool = True,
        is_robust: bool = False,
    ) -> "Numbers":
        """Find their centre and their scale.

        Parameters
        ----------
        labels : sequence or matrix
            N numbers, or a matrix or table ``[N, T]``.
        n_texts : int
            N, the number of texts they belong to.
        weights : ndarray, optional
            How much each text counts, in mean and standard deviation; texts of weight 0 are left out of all.
        has_bias : bool
            False of a head without one: its outputs cannot be shifted, and are scaled by the distance from zero alone,
            the root of the squares of centre and scale.
        is_robust : bool
            Take median and quartiles, which outliers hardly move, instead of mean and standard deviation.

        Raises
        ------
        TypeError
            A value is no number.
        ValueError
            One is missing or infinite, their number is wrong, all of a target are alike, or float32 does not hold them.

        Warns
        -----
        UserWarning
            float32 hardly tells them apart, or they lie far from zero and the head has no bias.
        """
        values, known = read(labels, n_texts), _names(labels, "labels")
        kept = values if weights is None else values[weights > 0]
        own = None if weights is None else weights[weights > 0]
        alike = np.flatnonzero((kept == kept[:1]).all(axis=0))
        if len(alike):
            which = f"column {alike[0]} of labels" if values.shape[1] > 1 else "labels"
            raise ValueError(f"{which} is {kept[0, alike[0]]:g} for every text; there is nothing to learn")
        with np.errstate(over="ignore", invalid="ignore"):
            centre, scale = _robust(kept) if is_robust else _moments(kept, own)
            if not has_bias:
                _warn_far_from_zero(centre, scale)
                centre, scale = np.zeros_like(centre), np.hypot(centre, scale)
        _check_range(centre, scale)
        names = [f"LABEL_{i}" for i in range(values.shape[1])] if known is None else known
        return cls(names, _is_matrix(labels, values), centre, scale)

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
        DataError
            A table names its columns otherwise.
        ValueError
            There are more or fewer targets than the model has, or a number is too far from them.
        """
        return self.scaled(self.read(labels, n_texts, name), name)

    def scaled(self, values: Float, name: str = "labels") -> NDArray[np.float32]:
        """Return numbers less their centre, in units of their scale.

        Raises
        ------
        ValueError
            One is so far from the training set that its square does not fit into float32.
        """
        with np.errstate(over="ignore"):
            found = (values - self.shift) / self.scale
        far = np.argwhere(abs(found) > FARTHEST)
        if len(far):
            row, column = far[0].tolist()
            raise ValueError(
                f"{name}[{row}] is {values[row, column]:g}; those trained on lie around {self.shift[column]:g} "
                f"within about {self.scale[column]:g}: it is too far from them for float32"
            )
        return np.ascontiguousarray(found, dtype=np.float32)

    def read(self, labels: Any, n_texts: int, name: str = "labels") -> Float:
        """Return numbers as they are, float64 ``[N, T]``, columns by name; errors as in `encode`."""
        values, names = read(labels, n_texts, name), _names(labels, name)
        if values.shape[1] != len(self):
            raise ValueError(f"{name} has {values.shape[1]} columns, and the model {len(self)} targets")
        if names is not None and set(names) == set(self.names):
            return values[:, [names.index(own) for own in self.names]]
        if names is None or not self.is_named or len(names) == 1:
            return values
        raise _core.DataError(
            f"{name} has the columns {names[:5]}, and the targets are {self.names[:5]}; name its columns so, or pass "
            "its values alone, in that order"
        )

    @property
    def is_named(self) -> bool:
        """Whether the targets have names of their own."""
        return self.names != [f"LABEL_{i}" for i in range(len(self.names))]

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
        is_sound = np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()
        if not shift.shape == scale.shape == (len(names),) or not is_sound:
            raise ValueError(f"{len(names)} targets, shift {shift.tolist()}, scale {scale.tolist()}")
        return cls(names, bool(data["is_matrix"]), shift, scale)


def _moments(values: Float, weights: Weights | None) -> tuple[Float, Float]:
    mean = np.average(values, axis=0, weights=weights)
    return mean, np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))


def _robust(values: Float) -> tuple[Float, Float]:
    """Return the median, and the distance of the quartiles as of a normal distribution's standard deviation."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    scale = (high - low) / NORMAL_QUARTILES
    return median, np.where(scale > 0, scale, _moments(values, None)[1])


def _is_matrix(labels: Any, values: Float) -> bool:
    """Tell whether numbers came as a matrix, which a table of one column is not."""
    first = labels[0] if isinstance(labels, list | tuple) and len(labels) else None
    is_array = isinstance(labels, np.ndarray) and labels.ndim == 2
    return values.shape[1] > 1 or is_array or isinstance(first, list | tuple)


def _names(labels: Any, name: str) -> list[str] | None:
    """Return what a table calls its columns, as str.

    Raises
    ------
    ValueError
        Two are called alike, or one is called nothing.
    """
    found = column_names(labels, name)
    if found is None:
        return None
    names = [str(column) for column in found]
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"{name} has the columns {found}; each needs a name of its own that is not empty")
    return names


def _warn_far_from_zero(mean: Float, scale: Float) -> None:
    far = np.flatnonzero(abs(mean) > FAR_FROM_ZERO * scale)
    if len(far):
        worst = int(far[0])
        warn(
            f"labels lie around {mean[worst]:g} with a standard deviation of {scale[worst]:g}, and the head of this "
            "model has no bias: it learns numbers around 0 far better; subtract their mean, and add it to predictions"
        )


def _check_range(centre: Float, scale: Float) -> None:
    """Refuse numbers that a head in float32 cannot give, and warn of those that it hardly tells apart."""
    if not ((scale <= LARGEST) & (scale >= 1 / LARGEST) & (abs(centre) <= LARGEST)).all():
        raise ValueError(
            f"labels lie around {centre.tolist()} within about {scale.tolist()}: float32 holds neither such outputs "
            "nor their map; scale them"
        )
    steps = np.finfo(np.float32).eps * abs(centre)
    worst = int((steps / scale).argmax())
    if steps[worst] > COARSE * scale[worst]:
        told = (
            f"labels lie around {centre[worst]:g} within about {scale[worst]:g}, and outputs in float32 come in steps "
            f"of {steps[worst]:.1g} there; subtract a number from them"
        )
        if steps[worst] > scale[worst]:
            raise ValueError(told)
        warn(told)


def read(labels: Any, n_texts: int, name: str = "labels") -> Float:
    """Return numbers as float64 ``[N, T]``; errors as in `Numbers.learn`."""
    if isinstance(labels, np.ma.MaskedArray):
        labels = np.ma.filled(labels.astype(np.float64), np.nan)
    dense = labels.toarray() if hasattr(labels, "toarray") else labels
    is_table = len(getattr(dense, "shape", ())) == 2
    rows = np.asarray(dense, dtype=object).tolist() if is_table else to_list(dense, name)
    if len(rows) != n_texts:
        raise ValueError(f"{name} has {len(rows)} entries for {n_texts} texts; every text needs exactly one")
    rows = [list(np.atleast_1d(row)) if isinstance(row, np.ndarray) else row for row in rows]
    rows = [list(row) if isinstance(row, list | tuple) else [row] for row in rows]
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
    except OverflowError as error:
        raise ValueError(f"{where} is beyond what a float64 holds") from error
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} is {value!r} ({type(value).__name__}); expected a number") from error
    if not np.isfinite(number):
        raise ValueError(f"{where} is {number}; expected a finite number")
