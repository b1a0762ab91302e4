"""Ridge regression on frozen features: an optimal linear map to real numbers, its penalty chosen by leave-one-out.

The objective is the sum of squared residuals, weighted by text, plus ``l2`` times the squared weights; the bias is not
penalised. Features are centred and divided by a single number, their root mean square length; the returned map takes
the original features. The loss is a sum, so that an `l2` chosen on a sample of the texts suits all of them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.samples import drawn
from warmstart.solve import Solution
from warmstart.weights import Weights

STRENGTHS = np.logspace(-3, 3, 13)
"""Penalties to choose from, in half decades, for features normalised to a mean square length of 1."""

MOST_TEXTS = 2000
"""Maximum number of texts, sampled from more, on which the penalty is chosen."""


def solve_ridge(
    features: NDArray[np.float32],
    targets: NDArray[Any],
    l2: float | None,
    has_bias: bool,
    sample_weight: Weights | None,
) -> Solution:
    """Solve for the linear map.

    Parameters
    ----------
    features : ndarray of float32, shape (N, D)
    targets : ndarray of float32, shape (N, T)
    l2 : float, optional
        Strength of the penalty; None chooses it by leave-one-out, which scikit-learn's ``RidgeCV`` does in closed form.
    has_bias : bool
        False for a map without bias: the bias of the solution is 0.
    sample_weight : ndarray, optional
        Weight of each text, above 0, ``[N]``; scaled so that their mean is 1.

    Raises
    ------
    ValueError
        A feature is not finite.
    """
    from sklearn.linear_model import Ridge, RidgeCV
    from threadpoolctl import threadpool_limits

    if not np.isfinite(features).all():
        raise ValueError("features hold values that are not finite; the weights of the model may be damaged")
    mean = features.mean(axis=0, dtype=np.float64)
    x, y = features - mean, targets.astype(np.float64)
    scale = float(np.sqrt(np.einsum("nd,nd->", x, x) / len(x))) or 1.0
    if not has_bias:  # what is taken off could not be given back
        mean, x = np.zeros_like(mean), features.astype(np.float64)
    x /= scale
    weights, path = None if sample_weight is None else sample_weight / sample_weight.mean(), []
    # As in `warmstart.solve`: several threads of BLAS wait for each other, and divide sums otherwise.
    with threadpool_limits(limits=1, user_api="blas"):
        if l2 is None:
            rows = drawn(len(x), MOST_TEXTS)
            some = None if weights is None else weights[rows]
            chosen = RidgeCV(STRENGTHS, fit_intercept=has_bias).fit(x[rows], y[rows], sample_weight=some)
            l2, path = float(chosen.alpha_), [(float(chosen.alpha_), -float(chosen.best_score_))]
        found = Ridge(l2, fit_intercept=has_bias, solver="cholesky", copy_X=False).fit(x, y, sample_weight=weights)
        del x  # of many texts it is the largest array there is, and it was overwritten
        weight = found.coef_.reshape(y.shape[1], -1) / scale
        bias = (np.atleast_1d(found.intercept_) if has_bias else np.zeros(y.shape[1])) - weight @ mean
        residuals = features @ weight.T.astype(np.float32) + bias - y
    return Solution(
        np.ascontiguousarray(weight, dtype=np.float32),
        np.ascontiguousarray(bias, dtype=np.float32),
        l2,
        float(np.average((residuals**2).mean(axis=1), weights=weights)),
        path,
        1,
    )
