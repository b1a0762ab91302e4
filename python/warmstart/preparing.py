"""From the parameters of an estimator and its data to a run that can start: parameters checked, defaults chosen."""

from dataclasses import replace
from math import ceil, isfinite
from typing import Any

import numpy as np

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.classification import Classification
from warmstart.defaults import (
    BATCH_SIZE,
    IN_STEPS,
    SOLVED,
    SOLVED_FIRST,
    epochs,
    how_head_learns,
    learning_rate,
    steps_asked,
)
from warmstart.doubts import of_labels, of_settings, refuse_alike
from warmstart.labels import Classes, Targets
from warmstart.options import check_compute, finite, flag, optional_positive_int, positive_int, seed_of_run
from warmstart.plan import Choice
from warmstart.policies import kept, patience
from warmstart.prepared import Labelled, Prepared
from warmstart.strategies import require_strategy
from warmstart.strategy import UpdateRule
from warmstart.tasks import Task
from warmstart.texts import warn_empty, warn_unread
from warmstart.warn import warn


def settle(
    params: dict[str, Any],
    options: dict[str, Any],
    backbone: Backbone,
    task: Task,
    data: Labelled,
    held_out: Labelled | None,
    default_metric: str,
    pairs: bool | None = None,
    fraction: float | None = None,
    model: _core.TaskModel | None = None,
) -> Prepared:
    """Choose the parameters that were left open, now that the data are known, and return the run.

    `fraction` is the share of the training set that `held_out` was taken from; None if it is a set of its own. `model`
    has the head that training continues from; None for a new head.

    Raises
    ------
    TypeError, ValueError
        A parameter is of a wrong type or out of range, or given twice.
    """
    strategy = require_strategy(params["strategy"])
    batch_tokens = batch_tokens_of(params, data.encodings)
    steps = ceil(data.encodings.n_tokens / batch_tokens / options["accumulation_steps"])
    of_words = task.of_words
    resolved, choices = resolve(params, backbone.hidden_size, of_words, len(data.encodings), steps, model is not None)
    options = {**options, **resolved, "batch_tokens": batch_tokens}
    is_linear = backbone._inner.has_linear_head(of_words)
    head = how_head_learns(strategy, is_linear, steps_asked(params), task.is_solvable)
    if model is not None:
        head = Choice(IN_STEPS, "it goes on from the head of the published model")
    choices = {"head": head, **({} if head.value == SOLVED else choices)}
    if fraction is not None and held_out is not None:
        shares = ", labels in like shares" if isinstance(task, Classification) else ""
        choices["eval_set"] = _part(
            len(held_out.encodings), len(data.encodings), fraction, f"drawn by random_state{shares}"
        )
    if options["patience"] is not None and params["patience"] is None:
        choices["patience"] = Choice(options["patience"], "as early_stopping asked")
    batches = params["batch_size"] is None and params["batch_tokens"] == "auto" and params["accumulation_steps"] == 1
    is_default = params["strategy"] is None and head.value == SOLVED_FIRST and batches and not steps_asked(params)
    is_default = is_default and not params.get("label_smoothing")
    prepared = Prepared(backbone, options, task, data, held_out, choices, head.value, pairs, is_default, model)
    if prepared.follows_gain:
        then = "it stays as solved where the features tell nothing, and all learns more slowly where they tell little"
        choices["head"] = replace(head, why=f"{head.why}; {then}")
    refuse_alike(prepared)
    if not of_words:  # for words this warning came when texts were split into windows
        warn_unread(data.encodings, *([] if held_out is None else [held_out.encodings]))
    warn_empty(data.encodings)
    for doubt in [*of_settings(params, prepared, default_metric), *of_labels(prepared)]:
        warn(doubt)
    return prepared


def resolve(
    params: dict[str, Any], hidden_size: int, of_words: bool, n_texts: int, steps: int, goes_on: bool = False
) -> tuple[dict[str, Any], dict[str, Choice]]:
    """Choose the options of a run in steps.

    Parameters
    ----------
    params : dict
        Parameters of the estimator, unchecked.
    hidden_size : int
        Width of the hidden states.
    of_words : bool
        Whether words are classified instead of texts.
    n_texts, steps : int
        Texts to train on, and about how many optimiser steps a pass over them has.
    goes_on : bool
        Whether it goes on from the head of a published model.

    Returns
    -------
    options : dict
        ``rule, epochs, max_steps`` for `border.training_options`.
    choices : dict of Choice
        Options that were chosen by default, by the name of the parameter.

    Raises
    ------
    TypeError, ValueError
        A parameter is of a wrong type or out of range.
    """
    strategy, choices = require_strategy(params["strategy"]), {}
    rate = params["learning_rate"]
    if rate is None:
        choices["learning_rate"] = learning_rate(strategy, hidden_size, of_words, goes_on)
        rate = choices["learning_rate"].value
    n_epochs, max_steps = params["epochs"], optional_positive_int("max_steps", params["max_steps"])
    if n_epochs is None and max_steps is None:
        choices["epochs"] = epochs(strategy, n_texts, steps)
        n_epochs = choices["epochs"].value
    options = {
        "rule": UpdateRule.of(strategy, params["optimizer"], rate),
        "epochs": 1 if n_epochs is None else positive_int("epochs", n_epochs),
        "max_steps": max_steps,
    }
    return options, choices


def _part(n_held_out: int, n_left: int, fraction: float, drawn: str) -> Choice:
    why = f"of {n_held_out + n_left:,} are held out and not trained on, as validation_fraction={fraction:g}"
    return Choice(f"{n_held_out:,} texts", f"{why}; {drawn}")


def smoothing(label_smoothing: Any) -> float:
    """Return ``label_smoothing`` as a float.

    Raises
    ------
    TypeError, ValueError
        ``label_smoothing`` is no number, or out of range.
    """
    share = finite("label_smoothing", label_smoothing)
    if not 0 <= share < 1:
        raise ValueError(f"label_smoothing must be at least 0 and less than 1, got {label_smoothing}")
    return share


def class_weights(class_weight: Any, classes: Classes, targets: Targets) -> list[float] | None:
    """Return a weight for each class.

    Parameters
    ----------
    class_weight : None, "balanced" or dict
        "balanced" is scikit-learn's: inversely proportional to the number of texts of a class, 1 if all classes are
        equally frequent, and 1 for a class without texts. A dict gives weights by label; other classes have weight 1.
    classes : Classes
        The C classes.
    targets : ndarray
        Class indices ``[N]`` or 0/1 ``[N, C]``.

    Raises
    ------
    TypeError, ValueError
        The value is of another type, names an unknown label, or a weight is negative or not finite.
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
        A parameter is of a wrong type or out of range.
    """
    check_compute(params["precision"], params["device"])
    require_strategy(params["strategy"])
    options = {
        "precision": params["precision"],
        "recompute": flag("recompute", params["recompute"]),
        "accumulation_steps": positive_int("accumulation_steps", params["accumulation_steps"]),
        "eval_every": optional_positive_int("eval_every", params["eval_every"]),
        "patience": patience(params),
        "seed": seed_of_run(params["random_state"], params["checkpoint_dir"]),
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
    """Return the number of tokens per batch: as given, or `batch_size` times the mean length.

    Raises
    ------
    TypeError, ValueError
        One of the two is of a wrong type or out of range, or both are given.
    """
    batch_tokens, batch_size = params["batch_tokens"], optional_positive_int("batch_size", params["batch_size"])
    if isinstance(batch_tokens, str) and batch_tokens == "auto":
        lengths = encodings.lengths()
        return max(round((batch_size or BATCH_SIZE) * float(lengths.mean())), int(lengths.max()))
    if batch_size is not None:
        raise ValueError(f"batch_size={batch_size} and batch_tokens={batch_tokens!r} are both given; leave one out")
    return positive_int("batch_tokens", batch_tokens, " or 'auto'")
