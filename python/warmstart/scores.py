"""Probabilities, predictions, losses and scores from logits.

``C`` classes, logits ``[N, C]``; targets are class indices ``[N]``, or for multi-label a 0/1 matrix ``[N, C]``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.labels import Classes, Targets

Metric = str | Callable[[Any, Any], float]

METRICS = ("accuracy", "macro_f1", "loss")


def probabilities(logits: NDArray[np.float32], multi_label: bool) -> NDArray[np.float64]:
    """Softmax over classes, or for multi-label a sigmoid each; float64 ``[N, C]``."""
    wide = logits.astype(np.float64)
    if multi_label:
        return np.asarray(np.exp(-np.logaddexp(0, -wide)))
    shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def predictions(logits: NDArray[np.float32], multi_label: bool) -> NDArray[np.int64]:
    """Pick the likeliest classes ``[N]``, or for multi-label 1 where the probability exceeds one half ``[N, C]``."""
    return _core.Task.classification(logits.shape[1], multi_label=multi_label).decode(logits)


def mean_loss(
    logits: NDArray[np.float32],
    targets: Targets,
    multi_label: bool,
    class_weight: NDArray[np.float64] | None = None,
    sample_weight: NDArray[np.float64] | None = None,
) -> float:
    """Mean cross entropy (multi-label: binary, over all N x C) in nats, without label smoothing.

    With `class_weight` ``[C]`` or `sample_weight` ``[N]`` the mean is weighted; it is 0 where all weights are.
    """
    wide = logits.astype(np.float64)
    if multi_label:
        losses = np.logaddexp(0, wide) - targets * wide
        weights = None if class_weight is None else np.broadcast_to(class_weight, losses.shape)
    else:
        truth = targets.astype(np.int64)
        losses = np.logaddexp.reduce(wide, axis=1) - wide[np.arange(len(wide)), truth]
        weights = None if class_weight is None else class_weight[truth]
    if sample_weight is not None:
        own = sample_weight[:, None] if multi_label else sample_weight
        weights = np.broadcast_to(own, losses.shape) if weights is None else weights * own
    return 0.0 if weights is not None and not weights.any() else float(np.average(losses, weights=weights))


def guessing_loss(targets: NDArray[Any], multi_label: bool, weight: NDArray[np.float64] | None) -> float:
    """Return the mean loss of predicting the share of each class for every text."""
    if multi_label:
        shares = np.clip(targets.mean(axis=0, dtype=np.float64), 1e-12, 1 - 1e-12)
        return float(np.average(-(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)), weights=weight))
    counts = np.bincount(targets.astype(np.int64)).astype(np.float64)
    counts = counts if weight is None else counts * weight[: len(counts)]
    shares = counts[counts > 0] / max(counts.sum(), 1e-30)
    return float(-(shares * np.log(shares)).sum())


def macro_f1(targets: NDArray[Any], predicted: NDArray[Any], sample_weight: NDArray[np.float64] | None = None) -> float:
    """Unweighted mean of the F1 of the classes that occur in either argument; 0 where nothing was predicted."""
    from sklearn.metrics import f1_score

    if targets.ndim == 2:  # scikit-learn averages over all columns there, also those that occur nowhere
        seen = (targets.astype(bool) | predicted.astype(bool)).any(axis=0)
        if not seen.any():
            return 0.0
        targets, predicted = targets[:, seen], predicted[:, seen]
    return float(f1_score(targets, predicted, average="macro", zero_division=0, sample_weight=sample_weight))


def accuracy(targets: NDArray[Any], predicted: NDArray[Any], sample_weight: NDArray[np.float64] | None = None) -> float:
    """Share of texts predicted right; for multi-label, right in every class."""
    right = targets == predicted
    return float(np.average(right.all(axis=1) if right.ndim == 2 else right, weights=sample_weight))


def check_metric(metric: Any) -> None:
    """Refuse a metric that is neither a known name nor callable.

    Raises
    ------
    ValueError
        The metric is neither.
    """
    if not callable(metric) and not (isinstance(metric, str) and metric in METRICS):
        raise ValueError(
            f"metric must be one of {', '.join(map(repr, METRICS))} or a callable(y_true, y_pred), got {metric!r}"
        )


def metric_name(metric: Metric) -> str:
    """Return the column name of a metric."""
    return metric if isinstance(metric, str) else getattr(metric, "__name__", "score")


def score(metric: Metric, logits: NDArray[np.float32], eval_loss: float, targets: Targets, classes: Classes) -> float:
    """Score logits, higher is better; a callable gets labels, and "loss" counts negatively."""
    if metric == "loss":
        return -eval_loss
    predicted = predictions(logits, classes.multi_label)
    if callable(metric):
        return float(metric(classes.decode(targets), classes.decode(predicted)))
    truth = targets.astype(np.int64)
    return accuracy(truth, predicted) if metric == "accuracy" else macro_f1(truth, predicted)
