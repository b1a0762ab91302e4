"""`Regression`: the task of predicting real numbers of texts: its loss, scores and report."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.numbers import Numbers
from warmstart.regression_report import RegressionReport, correlation
from warmstart.ridge import MOST_TEXTS, solve_ridge
from warmstart.samples import Rows
from warmstart.scores import Metric
from warmstart.solve import Solution
from warmstart.weights import Weights

LOSSES = ("mse", "huber", "pinball")

METRICS = ("loss", "r2", "pearson", "spearman")

START_L2 = 10.0
"""L2 penalty of the head from which fine-tuning starts."""

NEAR = 3.0
"""Where targets are cut off, in units of their scale, for the start of a run with Huber or pinball loss."""


@dataclass(frozen=True, eq=False)
class Regression:
    """Outputs are standardised numbers: squared, Huber or pinball loss, with equal weight for each target."""

    numbers: Numbers
    kind: str = "mse"
    huber_delta: float | None = None
    """Point where Huber's loss becomes linear, in the units of the targets; None is one standard deviation of each."""
    quantile: float = 0.5

    of_words = False
    class_weight = None

    @property
    def _deltas(self) -> NDArray[np.float64]:
        scale = self.numbers.scale
        return np.ones_like(scale) if self.huber_delta is None else self.huber_delta / scale

    @cached_property
    def inner(self) -> _core.Task:
        """The core's task."""
        return _core.Task.regression(
            len(self.numbers),
            loss=self.kind,
            delta=self._deltas.tolist() if self.kind == "huber" else None,
            quantile=self.quantile if self.kind == "pinball" else None,
        )

    @property
    def target(self) -> Numbers:
        """The numbers that the outputs stand for."""
        return self.numbers

    @property
    def n_outputs(self) -> int:
        """Number of outputs T."""
        return len(self.numbers)

    def folded(self, model: _core.TaskModel) -> _core.TaskModel:
        """Return the model for prediction: its outputs are scaled to the units of the targets."""
        scale, shift = (part.astype(np.float32) for part in (self.numbers.scale, self.numbers.shift))
        return model.with_outputs_scaled(scale, shift)

    def unfolded(self, model: _core.TaskModel) -> _core.TaskModel:
        """Undo `folded`."""
        numbers = self.numbers
        scale, shift = (part.astype(np.float32) for part in (1 / numbers.scale, -numbers.shift / numbers.scale))
        return model.with_outputs_scaled(scale, shift)

    @property
    def is_solvable(self) -> bool:
        """Whether a linear head has an optimum that can be solved for directly."""
        return self.kind == "mse"

    def loss(self, outputs: NDArray[Any], targets: NDArray[Any], sample_weight: Weights | None = None) -> float:
        """Return the mean loss."""
        r = outputs.astype(np.float64) - targets.astype(np.float64)
        if self.kind == "mse":
            losses = r**2
        elif self.kind == "huber":
            losses = np.where(abs(r) <= self._deltas, r**2 / 2, self._deltas * (abs(r) - self._deltas / 2))
        else:
            losses = np.maximum(-self.quantile * r, (1 - self.quantile) * r)
        return float(np.average(losses.mean(axis=1), weights=sample_weight))

    def guessing_loss(self, targets: NDArray[Any], sample_weight: Weights | None = None) -> float:
        """Return the mean loss of one number for all texts: their mean, or for other losses a quantile."""
        wide = targets.astype(np.float64)
        if self.kind == "mse":
            best = np.average(wide, axis=0, weights=sample_weight)
        else:
            best = _quantile(wide, self.quantile if self.kind == "pinball" else 0.5, sample_weight)
        return self.loss(np.broadcast_to(best, wide.shape), wide, sample_weight)

    def check_scored(self, metric: Metric, targets: NDArray[Any]) -> None:
        """Refuse a metric that says nothing of what is held out.

        Raises
        ------
        ValueError
            All numbers of a target are alike.
        """
        if isinstance(metric, str) and metric != "loss" and (targets == targets[:1]).all(axis=0).any():
            raise ValueError(
                f"metric={metric!r} says nothing of a held-out set in which all numbers of a target are alike; give it "
                "more texts, or metric='loss'"
            )

    def score(self, metric: Metric, outputs: NDArray[np.float32], eval_loss: float, targets: NDArray[Any]) -> float:
        """Score outputs, higher is better; a callable gets numbers in the units of the targets."""
        if metric == "loss":
            return -eval_loss
        if callable(metric):
            true, predicted = (self.numbers.shaped(self.numbers.decode(part)) for part in (targets, outputs))
            return float(metric(true, predicted))
        if metric == "r2":
            from sklearn.metrics import r2_score

            return float(r2_score(targets, outputs))
        # A constant has no correlation with anything.
        return correlation(str(metric), targets, outputs) or 0.0

    def report(
        self,
        outputs: NDArray[Any],
        targets: NDArray[Any],
        training: dict[str, Any] | None = None,
        sample_weight: Weights | None = None,
    ) -> RegressionReport:
        """Return the report on outputs."""
        true, predicted = self.numbers.decode(targets), self.numbers.decode(outputs)
        loss = self.loss(outputs, targets, sample_weight)
        return RegressionReport.of_predictions(predicted, true, self.numbers.names, loss, training, sample_weight)

    def follows_gain(self, targets: NDArray[Any]) -> bool:
        """Return False: a head that is solved for always begins the run."""
        return False

    def some_of_each(self, targets: NDArray[Any], least: int) -> Rows:
        """Return no rows: there are no classes that a sample must contain."""
        return np.empty(0, dtype=np.int64)

    @property
    def start_l2(self) -> float:
        """L2 penalty of the head from which fine-tuning starts."""
        return START_L2

    def solver_bytes(self, n: int, width: int) -> int:
        """Return what the solver takes beside `n` features of a width: measured, twice these in float64.

        The strength is chosen on some of them, which takes six times those.
        """
        return np.dtype(np.float64).itemsize * width * (2 * n + 6 * min(n, MOST_TEXTS))

    def solver(
        self,
        features: NDArray[np.float32],
        targets: NDArray[Any],
        sample_weight: Weights | None,
        has_bias: bool,
        with_gain: bool,
    ) -> Callable[[float | None], Solution]:
        """Return what finds the linear map of features for a strength of the penalty; None chooses it."""
        # Outliers are cut off for the losses that they should not pull: what is solved for is the squared error.
        near = targets if self.is_solvable else np.clip(targets, -NEAR, NEAR)
        return lambda l2: solve_ridge(features, near, l2, has_bias, sample_weight)


def _quantile(values: NDArray[np.float64], share: float, weights: Weights | None) -> NDArray[np.float64]:
    """Return a quantile of each column: the lowest value with at least this share of the weight at or below it."""
    order = np.argsort(values, axis=0)
    below = np.cumsum((np.ones(len(values)) if weights is None else weights)[order], axis=0)
    first = (below >= share * below[-1]).argmax(axis=0)
    return np.array([column[own[at]] for column, own, at in zip(values.T, order.T, first, strict=True)])
