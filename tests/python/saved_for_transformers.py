"""Directories for tests/reference/check_saved.py, if the variable ``WARMSTART_SAVED`` names a folder for them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def keep(name: str, save: Callable[[Path], object], expected: Callable[[], dict[str, Any]]) -> None:
    """Save a model to ``name`` below the folder, with what it makes of some texts."""
    folder = os.environ.get("WARMSTART_SAVED")
    if folder:
        directory = Path(folder) / name
        save(directory)
        (directory / "expected.json").write_text(json.dumps(expected()))
