"""Warnings: they point to the line of user code that led to them, and are shown once in a search that fits often."""

import re
import sys
import warnings

from warmstart import _core

_OURS = ("warmstart", "sklearn", "joblib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside this package and scikit-learn's wrappers of it.

    Python's filters decide what is shown. A search or a cross-validation of scikit-learn resets them for each fit, so
    within one the same warning, whatever its numbers, is given once; a process of ``n_jobs``, which knows of no search,
    gives each again.
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
    # The warnings given in a search are kept in the local variables of its first frame, and so live as long as the
    # search. Frames of joblib outlive it, because its processes are used again.
    told = last.f_locals.setdefault("_warmstart_told", set()) if searched else set()
    kind = re.sub(r"[\d.,]+", "#", message)
    if kind not in told:
        warnings.warn(message, category, stacklevel=level)
        told.add(kind)  # only now: where a warning is an error, every fit has it


def warn_unlearnt(message: str) -> None:
    """Warn with ``ConvergenceWarning``, as scikit-learn does if an estimator has not converged."""
    from sklearn.exceptions import ConvergenceWarning

    warn(message, ConvergenceWarning)


def warn_notes(backbone: _core.Backbone) -> None:
    """Warn of the core's notes about an opened model, each once.

    Parameters
    ----------
    backbone : _core.Backbone
        The opened backbone.
    """
    for note in backbone.notes():
        warn(note)
