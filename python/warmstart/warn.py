"""Warnings: told at the line of the user's code that led to them, and once in a search that fits many times."""

import re
import sys
import warnings

from warmstart import _core

_OURS = ("warmstart", "sklearn", "joblib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside this package and scikit-learn's wrappers of it.

    Python's filters decide what is shown. A search or a cross-validation of scikit-learn resets them for each fit;
    under one a thing is told once, whatever its numbers; in a process of ``n_jobs``, which knows of no search, by each.
    """
    frame, level, searched = sys._getframe(1), 2, False
    last = frame
    while frame.f_back is not None:
        package, _, rest = frame.f_globals.get("__name__", "").partition(".")
        if package not in _OURS:
            break
        searched = searched or (package == "sklearn" and rest.startswith("model_selection"))
        last = last if package == "joblib" else frame
        frame, level = frame.f_back, level + 1
    # What the search has told lives as long as the frame of its first call, among its local variables. Those of joblib
    # outlive it: its processes are used again.
    told = last.f_locals.setdefault("_warmstart_told", set()) if searched else set()
    kind = re.sub(r"[\d.,]+", "#", message)
    if kind not in told:
        warnings.warn(message, category, stacklevel=level)
        told.add(kind)  # only now: where a warning is an error, every fit has it


def warn_unlearnt(message: str) -> None:
    """Warn, as scikit-learn does where an estimator has not converged, with ``ConvergenceWarning``."""
    from sklearn.exceptions import ConvergenceWarning

    warn(message, ConvergenceWarning)


def warn_notes(backbone: _core.Backbone) -> None:
    """Warn of what whoever opens a model should be told, once each.

    Parameters
    ----------
    backbone : _core.Backbone
        As it was opened.
    """
    for note in backbone.notes():
        warn(note)
