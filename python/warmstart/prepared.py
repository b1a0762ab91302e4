"""A classifier's training run before it starts: parameters checked, and what they leave open chosen."""

from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core, border
from warmstart.backbone import Backbone
from warmstart.border import training_options
from warmstart.defaults import (
    BATCH_SIZE,
    MORE_EPOCHS,
    RISK,
    SLOWER,
    SOLVED,
    SOLVED_FIRST,
    START_TEXTS,
    how_head_learns,
    resolve,
    steps_asked,
)
from warmstart.doubts import of_labels, of_settings, refuse_alike
from warmstart.labels import Classes, Targets
from warmstart.memory import MemoryEstimate, check_fits, estimate
from warmstart.options import as_seed, check_compute, flag, optional_positive_int, positive_int
from warmstart.plan import Choice, Plan
from warmstart.policies import kept, patience
from warmstart.solve import VECTORS, Gain
from warmstart.strategies import require_strategy
from warmstart.texts import warn_empty, warn_unread
from warmstart.warn import warn
from warmstart.weights import Weights


@dataclass(frozen=True, eq=False)
class Labelled:
    """Encoded texts with their targets, and perhaps a weight for each, float64, above 0: of a text, or of its words."""

    encodings: _core.Encodings
    targets: Targets
    sample_weight: Weights | None = None

    def select(self, texts: NDArray[np.int64]) -> "Labelled":
        """Return some of the texts."""
        part, items = self.encodings.select(texts.tolist())
        return Labelled(part, self.targets[items], None if self.sample_weight is None else self.sample_weight[items])

    def text_weights(self) -> NDArray[np.float32] | None:
        """Return the weight of each text, as the core takes it; None where all count alike."""
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
    classes: Classes
    data: Labelled
    held_out: Labelled | None
    choices: dict[str, Choice]
    """What was chosen, by the name of the parameter."""
    head: str
    """`SOLVED`, `SOLVED_FIRST` or `IN_STEPS`."""
    pairs: bool | None = None
    """Whether texts are pairs; None of tagged words."""
    is_default: bool = False
    """Whether neither a strategy nor how to train was asked for."""

    @property
    def of_words(self) -> bool:
        """Whether words are classified, not texts."""
        return self.options.get("task") == "words"

    @property
    def is_weighted(self) -> bool:
        """Whether classes or texts count differently."""
        return self.options["class_weight"] is not None or self.data.sample_weight is not None

    @property
    def follows_gain(self) -> bool:
        """Whether fine-tuning is left out, or slower, where features turn out to tell nothing, or little.

        Few texts, most of them with one label, and nothing asked for: to learn such texts by heart makes predictions
        that are right less often than that label. Where rare labels are very few, it costs nothing.
        """
        if not self.is_default or self.of_words or self.classes.multi_label or self.is_weighted:
            return False
        shares = np.bincount(self.data.targets) / len(self.data.targets)
        return len(self.data.encodings) <= START_TEXTS and bool(shares.max() - (shares**2).sum() > RISK)

    def with_little_gain(self, gain: Gain) -> "Prepared":
        """Return the run for features that gain little: the head stays as it is solved, or all learns slowly."""
        why = f"left out in turn, texts lose {gain.loss:.3g} by what the features tell, {gain.guessing:.3g} by guessing"
        sure = f"{gain.errors:.2g} standard errors"
        if not gain.is_sure:
            why = f"{why}: not surely less, {sure}; strategy=FullFineTuning() fine-tunes anyway"
            return replace(self, head=SOLVED, choices={"head": Choice(SOLVED, why)})
        strategy = self.options["strategy"]
        rate, epochs = SLOWER * strategy["learning_rate"], max(MORE_EPOCHS, self.options["epochs"])
        options = {**self.options, "strategy": {**strategy, "learning_rate": rate}, "epochs": epochs}
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
        n_outputs = self.options["n_outputs"]
        found = estimate(self.backbone._inner, self.data.encodings, held_out, options, n_outputs)
        if self.head != SOLVED:
            return found
        # Beside what a run in steps has: the features in float64, and the vectors of L-BFGS.
        n_values = found.trainable // np.dtype(np.float32).itemsize
        n_features = len(self.data.targets) * (n_values // n_outputs)
        solving = np.dtype(np.float64).itemsize * (n_features + VECTORS * n_values)
        return replace(found, activations=found.activations + solving)

    def plan(self) -> Plan:
        """Return what is done to every parameter, and what was chosen."""
        rule = border.update_rule(self.options["strategy"])
        told = self.backbone._inner.explain(*rule, self.of_words, self.options["n_outputs"])
        return Plan(told, self.choices, self.head == SOLVED)

    def check_memory(self) -> None:
        """Raise DeviceError if the machine has less memory than the run takes."""
        longest = int(self.data.encodings.lengths().max())
        check_fits(self.memory(), self.options["batch_tokens"], longest, self.memory)


def settle(
    params: dict[str, Any],
    options: dict[str, Any],
    backbone: Backbone,
    classes: Classes,
    data: Labelled,
    held_out: Labelled | None,
    default_metric: str,
    pairs: bool | None = None,
    fraction: float | None = None,
) -> Prepared:
    """Choose what the parameters leave open, now that the data are known, as `Prepared`.

    `fraction` is the part of the training set that `held_out` was made of; None if it is a set of its own.

    Raises
    ------
    TypeError, ValueError
        A parameter is not as it should be, or given twice.
    """
    strategy = require_strategy(params["strategy"])
    batch_tokens = batch_tokens_of(params, data.encodings)
    steps = ceil(data.encodings.n_tokens / batch_tokens / options["accumulation_steps"])
    of_words = options.get("task") == "words"
    resolved, choices = resolve(params, backbone.hidden_size, of_words, len(data.encodings), steps)
    options = {**options, **resolved, "batch_tokens": batch_tokens}
    is_linear = backbone._inner.has_linear_head(of_words)
    head = how_head_learns(strategy, is_linear, steps_asked(params))
    choices = {"head": head, **({} if head.value == SOLVED else choices)}
    if fraction is not None and held_out is not None:
        choices["eval_set"] = _part(len(held_out.encodings), len(data.encodings), fraction)
    if options["patience"] is not None and params["patience"] is None:
        choices["patience"] = Choice(options["patience"], "as early_stopping asked")
    batches = params["batch_size"] is None and params["batch_tokens"] == "auto" and params["accumulation_steps"] == 1
    is_default = params["strategy"] is None and head.value == SOLVED_FIRST and batches and not steps_asked(params)
    is_default = is_default and not params["label_smoothing"]
    prepared = Prepared(backbone, options, classes, data, held_out, choices, head.value, pairs, is_default)
    if prepared.follows_gain:
        then = "it stays as solved where the features tell nothing, and all learns more slowly where they tell little"
        choices["head"] = replace(head, why=f"{head.why}; {then}")
    refuse_alike(prepared)
    if not of_words:  # of words it was told where they were cut
        warn_unread(data.encodings, *([] if held_out is None else [held_out.encodings]))
    warn_empty(data.encodings)
    for doubt in [*of_settings(params, prepared, default_metric), *of_labels(prepared)]:
        warn(doubt)
    return prepared


def _part(n_held_out: int, n_left: int, fraction: float) -> Choice:
    why = f"of {n_held_out + n_left:,} are held out and not trained on, as validation_fraction={fraction:g}"
    return Choice(f"{n_held_out:,} texts", f"{why}; drawn by random_state, labels in like shares")


def class_weights(class_weight: Any, classes: Classes, targets: Targets) -> list[float] | None:
    """Return a weight for each class.

    Parameters
    ----------
    class_weight : None, "balanced" or dict
        "balanced" is scikit-learn's: inverse to how often a class occurs, 1 where all occur alike, and for one that
        occurs nowhere. A dict gives weights by label; a class it does not name weighs 1.
    classes : Classes
        The C classes.
    targets : ndarray
        Class indices ``[N]`` or 0/1 ``[N, C]``.

    Raises
    ------
    TypeError, ValueError
        It is something else, names an unknown label, or a weight is negative or not finite.
    """
    if class_weight is None:
        return None
    names = classes.values.tolist()
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in names]
        if unknown:
            raise ValueError(
                f"class_weight names {unknown[0]!r}, which is no label of the training set; known are {names}"
            )
        weights = [float(class_weight.get(name, 1.0)) for name in names]
        for name, weight in zip(names, weights, strict=True):
            if not (isfinite(weight) and weight >= 0):
                raise ValueError(f"class_weight[{name!r}] must be finite and at least 0, got {weight}")
        if not classes.multi_label and sum(weight > 0 for weight in weights) == 1:
            raise ValueError("class_weight leaves one class with a weight above 0: there is nothing to tell it from")
        return weights
    if class_weight == "balanced":
        found = np.nonzero(targets)[1] if classes.multi_label else targets.astype(np.int64)
        counts = np.bincount(found, minlength=len(names))
        n_present = np.count_nonzero(counts)
        return [len(found) / (n_present * count) if count else 1.0 for count in counts.tolist()]
    raise ValueError(f"class_weight must be None, 'balanced' or a dict of label: weight, got {class_weight!r}")


def fit_options(params: dict[str, Any], is_evaluated: bool) -> dict[str, Any]:
    """Check the parameters that all trained estimators have, and return them as the core's options.

    Raises
    ------
    TypeError, ValueError, DeviceError
        One is not as it should be.
    """
    check_compute(params["precision"], params["device"])
    require_strategy(params["strategy"])
    options = {
        "precision": params["precision"],
        "recompute": flag("recompute", params["recompute"]),
        "accumulation_steps": positive_int("accumulation_steps", params["accumulation_steps"]),
        "eval_every": optional_positive_int("eval_every", params["eval_every"]),
        "patience": patience(params),
        "seed": as_seed(params["random_state"]),
        **kept(params),
    }
    for name in ("eval_every", "patience"):
        if options[name] is not None and not is_evaluated:
            raise ValueError(
                f"{name}={options[name]} needs texts to evaluate on; pass fit(..., eval_set=(texts, labels)), or "
                f"validation_fraction=0.1 to hold out some of the training set, or set {name}=None"
            )
    return options


def batch_tokens_of(params: dict[str, Any], encodings: _core.Encodings) -> int:
    """Return the budget of a batch in tokens: as given, or `batch_size` times the mean length.

    Raises
    ------
    TypeError, ValueError
        One of the two is not as it should be, or both are given.
    """
    batch_tokens, batch_size = params["batch_tokens"], optional_positive_int("batch_size", params["batch_size"])
    if isinstance(batch_tokens, str) and batch_tokens == "auto":
        lengths = encodings.lengths()
        return max(round((batch_size or BATCH_SIZE) * float(lengths.mean())), int(lengths.max()))
    if batch_size is not None:
        raise ValueError(f"batch_size={batch_size} and batch_tokens={batch_tokens!r} are both given; leave one out")
    return positive_int("batch_tokens", batch_tokens, " or 'auto'")
