"""A training run before it starts: checked parameters and chosen defaults."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.border import training_options
from warmstart.defaults import (
    MORE_EPOCHS,
    SLOWER,
    SOLVED,
    START_TEXTS,
)
from warmstart.labels import Targets
from warmstart.memory import MemoryEstimate, check_fits, estimate
from warmstart.plan import Choice, Plan
from warmstart.solve import Gain
from warmstart.tasks import Task
from warmstart.weights import Weights, unless_alike


@dataclass(frozen=True, eq=False)
class Labelled:
    """Encoded texts with targets and optional weights, float64, above 0, one per text or one per word."""

    encodings: _core.Encodings
    targets: Targets
    sample_weight: Weights | None = None

    def select(self, texts: NDArray[np.int64]) -> "Labelled":
        """Return a selection of the texts; weights that are then all equal are dropped."""
        part, items = self.encodings.select(texts.tolist())
        weights = None if self.sample_weight is None else self.sample_weight[items]
        return Labelled(part, self.targets[items], unless_alike(weights))

    def text_weights(self) -> NDArray[np.float32] | None:
        """Return the weight of each text for the core; None if all are equal."""
        if self.sample_weight is None:
            return None
        counts = self.encodings.item_counts()
        weights, has_items = np.ones(len(counts), dtype=np.float32), counts > 0
        weights[has_items] = self.sample_weight[(np.cumsum(counts) - counts)[has_items]]
        return weights


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run before it starts: checked options and encoded data."""

    backbone: Backbone
    options: dict[str, Any]
    task: Task
    data: Labelled
    held_out: Labelled | None
    choices: dict[str, Choice]
    """Values that were chosen by default, by the name of the parameter."""
    head: str
    """How the head is trained: `SOLVED`, `SOLVED_FIRST` or `IN_STEPS`."""
    pairs: bool | None = None
    """Whether texts are pairs; None for token classification."""
    is_default: bool = False
    """Whether both the strategy and its training parameters are defaults."""
    model: _core.TaskModel | None = None
    """The model whose head training continues from; None for a new head."""

    @property
    def of_words(self) -> bool:
        """Whether words are classified instead of texts."""
        return self.task.of_words

    @property
    def is_weighted(self) -> bool:
        """Whether classes or texts have different weights."""
        return self.task.class_weight is not None or self.data.sample_weight is not None

    @property
    def follows_gain(self) -> bool:
        """Whether fine-tuning is left out, or slowed down, if features turn out to have no or little signal.

        This holds for few texts, most of them with one label, and default parameters: overfitting such texts gives
        predictions that are right less often than that label. If rare labels are very few, overfitting costs nothing.
        """
        if not self.is_default or self.is_weighted or len(self.data.encodings) > START_TEXTS:
            return False
        return self.task.follows_gain(self.data.targets)

    def with_little_gain(self, gain: Gain) -> "Prepared":
        """Return the run for features that gain little: the head stays as solved, or all weights are trained slowly."""
        why = f"left out in turn, texts lose {gain.loss:.3g} by what the features tell, {gain.guessing:.3g} by guessing"
        sure = f"{gain.errors:.2g} standard errors"
        if not gain.is_sure:
            why = f"{why}: not surely less, {sure}; strategy=FullFineTuning() fine-tunes anyway"
            return replace(self, head=SOLVED, choices={"head": Choice(SOLVED, why)})
        rule = self.options["rule"]
        rate, epochs = SLOWER * rule.learning_rate, max(MORE_EPOCHS, self.options["epochs"])
        options = {**self.options, "rule": replace(rule, learning_rate=rate), "epochs": epochs}
        why = f"{why}: surely less, {sure}, but not much"
        return replace(
            self,
            options=options,
            choices={**self.choices, "learning_rate": Choice(rate, why), "epochs": Choice(epochs, why)},
        )

    def memory(self, **changed: Any) -> MemoryEstimate:
        """Estimate the peak of memory, with some options changed."""
        held_out = None if self.held_out is None else self.held_out.encodings
        options = training_options({**self.options, **changed})
        found = estimate(self.backbone._inner, self.data.encodings, held_out, options, self.task.inner)
        if self.head != SOLVED:
            return found
        # The solver works in addition to what a run in steps takes.
        n_values = found.trainable // np.dtype(np.float32).itemsize
        solving = self.task.solver_bytes(len(self.data.targets), n_values // self.task.n_outputs)
        return replace(found, activations=found.activations + solving)

    def plan(self) -> Plan:
        """Return the plan: the treatment of every parameter, and the chosen defaults."""
        strategy, optimizer = self.options["rule"].core()
        told = self.backbone._inner.explain(strategy, optimizer, self.task.inner)
        return Plan(told, self.choices, self.head == SOLVED)

    def check_memory(self) -> None:
        """Raise DeviceError if the machine has less memory than the run takes."""
        longest = int(self.data.encodings.lengths().max())
        check_fits(self.memory(), self.options["batch_tokens"], longest, self.memory)
