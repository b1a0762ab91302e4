"""Policies of a run: evaluation set, early stopping, kept weights, checkpoints."""

import os
from typing import Any

from warmstart.options import finite, flag, one_of, optional_positive_int

FRACTION = 0.1
"""Share of the training set that is held out for ``early_stopping`` if no other share is given."""

PATIENCE = 3
"""Default patience of ``early_stopping``: evaluations without improvement."""

KEEP = ("best", "last")


def fraction_held_out(params: dict[str, Any], eval_set: Any) -> float | None:
    """Return the share of the training set to hold out; None if there is an `eval_set` or nothing asks for it.

    Raises
    ------
    TypeError, ValueError
        ``validation_fraction`` or ``early_stopping`` is of a wrong type or out of range.
    """
    fraction, stops = params["validation_fraction"], flag("early_stopping", params["early_stopping"])
    if fraction is not None and not 0 < finite("validation_fraction", fraction) < 1:
        raise ValueError(f"validation_fraction must lie between 0 and 1, got {fraction}")
    if eval_set is not None:
        return None
    return FRACTION if fraction is None and stops else fraction


def patience(params: dict[str, Any]) -> int | None:
    """Return after how many evaluations without improvement a run stops; None if it does not."""
    given = optional_positive_int("patience", params["patience"])
    return PATIENCE if given is None and params["early_stopping"] else given


def kept(params: dict[str, Any]) -> dict[str, Any]:
    """Return the core's options for kept weights and checkpoints.

    Raises
    ------
    TypeError, ValueError
        A parameter is of a wrong type or out of range.
    """
    keep, directory = one_of("keep", params["keep"], KEEP), params["checkpoint_dir"]
    every = optional_positive_int("checkpoint_every", params["checkpoint_every"])
    if directory is None and every is not None:
        raise ValueError(f"checkpoint_every={every} needs checkpoint_dir")
    directory = None if directory is None else os.fspath(directory)
    return {"keep": keep, "checkpoint_dir": directory, "checkpoint_every": every}
