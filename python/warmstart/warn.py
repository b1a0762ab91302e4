"""Warnings: told at the line of the user's code that led to them, and once in a search that fits many times."""

import re
import sys
import warnings

_told: set[tuple[str, str, int]] = set()
"""What searches have told, numbers aside, with the file and line that it was told of."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside this package and scikit-learn's wrappers of it.

    Python's filters decide what is shown. Under a search or a cross-validation of scikit-learn, which resets them for
    each fit, a line is told a thing once, whatever the numbers.
    """
    frame, level, searched = sys._getframe(1), 2, False
    while frame.f_back is not None:
        package, _, rest = frame.f_globals.get("__name__", "").partition(".")
        if package not in ("warmstart", "sklearn", "joblib"):
            break
        searched = searched or (package == "sklearn" and rest.startswith("model_selection"))
        frame, level = frame.f_back, level + 1
    if searched:
        key = (re.sub(r"[\d.,]+", "#", message), frame.f_code.co_filename, frame.f_lineno)
        if key in _told:
            return
        _told.add(key)
    warnings.warn(message, category, stacklevel=level)
