"""`sample_weight`: how much each text counts, in training and in scores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.texts import to_list

Weights = NDArray[np.float64]


def read_weights(sample_weight: Any, n_texts: int) -> Weights | None:
    """Return the weight of each text, float64 ``[N]``; None if all are equal.

    Parameters
    ----------
    sample_weight : sequence of float or None
        N weights; 0 leaves a text out.
    n_texts : int
        N, the number of texts they belong to.

    Raises
    ------
    TypeError
        A weight is no number.
    ValueError
        Their number is wrong, one is negative or not finite, or all are 0.

    Examples
    --------
    >>> read_weights([1, 2.5], 2)
    array([1. , 2.5])
    >>> read_weights([3, 3], 2) is None
    True
    """
    if sample_weight is None:
        return None
    items = to_list(sample_weight, "sample_weight")
    if len(items) != n_texts:
        raise ValueError(f"sample_weight has {len(items)} entries for {n_texts} texts; every text needs one")
    text = next((item for item in items if isinstance(item, str | bytes)), None)
    if text is not None:
        raise TypeError(f"sample_weight holds what is no number: {text!r}")
    try:
        weights = np.array(items, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"sample_weight holds what is no number: {error}") from error
    if weights.ndim != 1:
        raise TypeError(f"sample_weight has shape {weights.shape}; expected one number for each text")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise ValueError(f"sample_weight[{bad[0]}] must be finite and at least 0, got {items[bad[0]]}")
    if n_texts and not weights.any():
        raise ValueError("sample_weight is 0 for every text; there is nothing to learn or to score")
    return unless_alike(weights)


def unless_alike(weights: Weights | None) -> Weights | None:
    """Return the weights, or None if all are equal."""
    return None if weights is None or (weights == weights[:1]).all() else weights
