"""The peers' own virtual environment, away from the project's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.assets import ROOT, ignore_in_git

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def peers_python(root: Path = ROOT) -> Path:
    """Make ``root/.venv-bench`` if it is missing or its requirements changed; the path of its interpreter.

    Raises
    ------
    SystemExit
        If this Python is too old for the peers, or pip fails (its own output says why).
    """
    folder = root / ".venv-bench"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    installed = folder / "installed-requirements.txt"  # written last: its presence means the environment is whole
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if installed.is_file() and installed.read_text(encoding="utf-8") == wanted:
        return python
    if sys.version_info < (3, 11):
        raise SystemExit(
            f"The peers need Python 3.11 or later, this is {sys.version.split()[0]}. Pass --peers-python PATH with an "
            f"interpreter that has the packages of {REQUIREMENTS.name}."
        )
    print(f"setting up {folder.name} (several GB: torch brings its CUDA libraries)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    ignore_in_git(folder)
    _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)])
    installed.write_text(wanted, encoding="utf-8")
    return python


def quiet_and_offline() -> None:
    """Tell Hugging Face's libraries, before they are imported, that every file is here already."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _run(command: list[str]) -> None:
    status = subprocess.run(command).returncode
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed with exit status {status}; see its output above.")
