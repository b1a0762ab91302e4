"""From options checked in Python to the core's typed ones: a name that either side does not know is an error."""

from collections.abc import Mapping
from typing import Any, TypedDict

from warmstart import _core

TRAINING = (
    *("epochs", "max_steps", "batch_tokens", "accumulation_steps", "eval_every", "patience", "keep", "seed"),
    *("precision", "recompute", "checkpoint_dir", "checkpoint_every"),
)
"""What all runs have, by the names that both sides have for it."""

OTHERS = ("strategy", "objective", "max_length")
"""What some runs have, and what goes to the core by other ways."""


class PretrainingOptions(TypedDict):
    """What runs of pretraining have beside `TRAINING`."""

    objective: _core.Objective
    max_length: int


def update_rule(rule: Mapping[str, Any]) -> tuple[_core.Strategy, _core.AdamW]:
    """Return what learns, and by which steps, from what `strategies.update_rule` returns."""
    steps = {name: value for name, value in rule.items() if name not in ("method", "layer_decay")}
    return _core.Strategy(rule["method"], layer_decay=rule.get("layer_decay", 1.0)), _core.AdamW(**steps)


def training_options(options: Mapping[str, Any]) -> _core.TrainingOptions:
    """Return what all runs have, from the options of one.

    Raises
    ------
    ValueError
        There is another name among them.
    """
    unknown = [name for name in options if name not in TRAINING + OTHERS]
    if unknown:
        raise ValueError(f"options: {unknown[0]!r} is none of {', '.join(TRAINING + OTHERS)}")
    strategy, optimizer = update_rule(options["strategy"])
    return _core.TrainingOptions(strategy=strategy, optimizer=optimizer, **{name: options[name] for name in TRAINING})


def pretraining_options(options: Mapping[str, Any]) -> PretrainingOptions:
    """Return what runs of pretraining have beside it."""
    objective = dict(options["objective"])
    made = getattr(_core.Objective, objective.pop("kind"))(**objective)
    return {"objective": made, "max_length": options["max_length"]}
