"""`Classification`: the task of classifying texts or words: its loss, scores and report."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.defaults import RISK, START_CLASSES, START_L2
from warmstart.labels import Classes
from warmstart.report import Report
from warmstart.samples import Rows, some_of_each
from warmstart.scores import Metric, guessing_loss, mean_loss, score
from warmstart.solve import VECTORS, Solution, solve
from warmstart.weights import Weights


@dataclass(frozen=True, eq=False)
class Classification:
    """Outputs are logits of classes: softmax cross entropy, or for multi-label a sigmoid cross entropy each."""

    classes: Classes
    of_words: bool = False
    class_weight: list[float] | None = None
    label_smoothing: float = 0.0

    @cached_property
    def inner(self) -> _core.Task:
        """The core's task."""
        return _core.Task.classification(
            len(self.classes),
            of_words=self.of_words,
            multi_label=self.classes.multi_label,
            class_weight=self.class_weight,
            label_smoothing=self.label_smoothing,
        )

    @property
    def target(self) -> Classes:
        """The classes that the outputs stand for."""
        return self.classes

    @property
    def n_outputs(self) -> int:
        """Number of outputs C."""
        return len(self.classes)

    def folded(self, model: _core.TaskModel) -> _core.TaskModel:
        """Return the model for prediction: unchanged, because it predicts logits."""
        return model

    @property
    def is_solvable(self) -> bool:
        """Whether a linear head has an optimum that can be solved for directly."""
        return True

    @property
    def _weight(self) -> NDArray[np.float64] | None:
        return None if self.class_weight is None else np.array(self.class_weight)

    def loss(self, outputs: NDArray[np.float32], targets: NDArray[Any], sample_weight: Weights | None = None) -> float:
        """Return the mean loss, with class weights and without label smoothing."""
        return mean_loss(outputs, targets, self.classes.multi_label, self._weight, sample_weight)

    def guessing_loss(self, targets: NDArray[Any], sample_weight: Weights | None = None) -> float:
        """Return the mean loss of the share of each class, whatever the text; all texts count alike."""
        return guessing_loss(targets, self.classes.multi_label, self._weight)

    def check_scored(self, metric: Metric, targets: NDArray[Any]) -> None:
        """Do nothing: every metric says something of any classes."""

    def score(self, metric: Metric, outputs: NDArray[np.float32], eval_loss: float, targets: NDArray[Any]) -> float:
        """Score outputs, higher is better."""
        return score(metric, outputs, eval_loss, targets, self.classes)

    def report(
        self,
        outputs: NDArray[np.float32],
        targets: NDArray[Any],
        training: dict[str, Any] | None = None,
        sample_weight: Weights | None = None,
    ) -> Report:
        """Return the report on outputs."""
        return Report.of_logits(outputs, targets, self.classes, training, sample_weight)

    def follows_gain(self, targets: NDArray[Any]) -> bool:
        """Tell whether overfitting such texts may lower the accuracy: most of them have one label."""
        if self.of_words or self.classes.multi_label:
            return False
        shares = np.bincount(targets) / len(targets)
        return bool(shares.max() - (shares**2).sum() > RISK)

    def some_of_each(self, targets: NDArray[Any], least: int) -> Rows:
        """Return rows with `least` texts of each class, or with all texts of a class that has fewer."""
        return some_of_each(targets, least)

    @property
    def start_l2(self) -> float:
        """L2 penalty of the head from which fine-tuning starts."""
        return START_L2 if self.classes.multi_label else START_L2 * min(1.0, START_CLASSES / len(self.classes))

    def solver_bytes(self, n: int, width: int) -> int:
        """Return what the solver takes beside `n` features of a width: these in float64, and the vectors of L-BFGS."""
        return np.dtype(np.float64).itemsize * (n * width + VECTORS * self.n_outputs * width)

    def solver(
        self,
        features: NDArray[np.float32],
        targets: NDArray[Any],
        sample_weight: Weights | None,
        has_bias: bool,
        with_gain: bool,
    ) -> Callable[[float | None], Solution]:
        """Return a function that fits a linear head on features with a given L2 penalty; None chooses the penalty."""
        return lambda l2: solve(
            features,
            targets,
            len(self.classes),
            self.classes.multi_label,
            self.class_weight,
            self.label_smoothing,
            l2,
            has_bias,
            with_gain,
            sample_weight,
        )
