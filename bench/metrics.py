"""Scores that both sides share, so that they cannot differ in definition."""

from __future__ import annotations

from collections.abc import Sequence


def accuracy(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of equal labels."""
    return sum(t == p for t, p in zip(truth, predicted, strict=True)) / len(truth)


def macro_f1(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Unweighted mean of F1 over the labels that occur in either sequence; F1 of a label never right is 0.

    Same as ``sklearn.metrics.f1_score(truth, predicted, average="macro", zero_division=0)``.
    """
    labels = sorted(set(truth) | set(predicted))
    pairs = list(zip(truth, predicted, strict=True))
    scores = []
    for label in labels:
        right = sum(t == label and p == label for t, p in pairs)
        either = sum(t == label for t, _ in pairs) + sum(p == label for _, p in pairs)
        scores.append(2 * right / either)
    return sum(scores) / len(scores)
