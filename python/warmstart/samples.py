"""Reproducible samples of texts, with texts of every class among them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.labels import Targets

Rows = NDArray[np.int64]


def drawn(n: int, wanted: int) -> Rows:
    """Return `wanted` of the numbers below `n`, sorted, or all if there are fewer; the sample is always the same."""
    return np.sort(np.random.default_rng(0).permutation(n)[:wanted])


def some_of_each(targets: Targets, least: int) -> Rows:
    """Return rows with `least` texts of each class, or all of a smaller class; matrix columns are classes."""
    order = np.random.default_rng(0).permutation(len(targets))
    if targets.ndim == 2:
        of_class = [order[targets[order, k] > 0][:least] for k in range(targets.shape[1])]
        return np.unique(np.concatenate(of_class))
    by_class = order[np.argsort(targets[order], kind="stable")]
    found: NDArray[Any] = targets[by_class]
    place = np.arange(len(found)) - np.searchsorted(found, found)  # within the class
    return np.sort(by_class[place < least])
