"""Some of many texts, drawn by chance and alike each time, with some of every class among them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.labels import Targets

Rows = NDArray[np.int64]


def drawn(n: int, wanted: int) -> Rows:
    """Return `wanted` of the numbers below `n` in their order, all if there are fewer; always the same ones."""
    return np.sort(np.random.default_rng(0).permutation(n)[:wanted])


def some_of_each(targets: Targets, least: int) -> Rows:
    """Return rows such that each class has `least` of them, or all that it has; a class is a column of a matrix."""
    order = np.random.default_rng(0).permutation(len(targets))
    if targets.ndim == 2:
        of_class = [order[targets[order, k] > 0][:least] for k in range(targets.shape[1])]
        return np.unique(np.concatenate(of_class))
    by_class = order[np.argsort(targets[order], kind="stable")]
    found: NDArray[Any] = targets[by_class]
    place = np.arange(len(found)) - np.searchsorted(found, found)  # within the class
    return np.sort(by_class[place < least])
