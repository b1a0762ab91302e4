"""Convert options checked in Python to the core's typed ones; a name that either side does not know is an error."""

from collections.abc import Mapping
from typing import Any, TypedDict

from warmstart import _core

TRAINING = (
    *("epochs", "max_steps", "batch_tokens", "accumulation_steps", "eval_every", "patience", "keep", "seed"),
    *("precision", "recompute", "checkpoint_dir", "checkpoint_every"),
)
"""Options of all runs; Python and the core use the same names."""

OTHERS = ("rule", "objective", "max_length")
"""Options of some runs only, which are passed to the core separately."""


class PretrainingOptions(TypedDict):
    """Options of pretraining runs, in addition to `TRAINING`."""

    objective: _core.Objective
    max_length: int


def training_options(options: Mapping[str, Any]) -> _core.TrainingOptions:
    """Return the options common to all runs.

    Raises
    ------
    ValueError
        An option has an unknown name.
    """
    unknown = [name for name in options if name not in TRAINING + OTHERS]
    if unknown:
        raise ValueError(f"options: {unknown[0]!r} is none of {', '.join(TRAINING + OTHERS)}")
    strategy, optimizer = options["rule"].core()
    return _core.TrainingOptions(strategy=strategy, optimizer=optimizer, **{name: options[name] for name in TRAINING})


def pretraining_options(options: Mapping[str, Any]) -> PretrainingOptions:
    """Return the options of a pretraining run that are not in `TRAINING`."""
    objective = dict(options["objective"])
    made = getattr(_core.Objective, objective.pop("kind"))(**objective)
    return {"objective": made, "max_length": options["max_length"]}
