"""Seconds that ``import warmstart`` takes in a fresh interpreter."""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROBE = """
import json, sys, time
started = time.perf_counter()
import warmstart
print(json.dumps({"seconds": time.perf_counter() - started, "sklearn": "sklearn" in sys.modules}))
"""


@dataclass(frozen=True)
class ImportTime:
    """Of several fresh interpreters.

    Attributes
    ----------
    sklearn_loaded
        Whether importing warmstart imported scikit-learn too; it should not.
    """

    seconds: list[float]
    sklearn_loaded: bool

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


def measure_import(python: Path, repeats: int = 7) -> ImportTime:
    """Import warmstart ``repeats`` times, each in its own isolated interpreter."""
    results = []
    for _ in range(repeats):
        done = subprocess.run([str(python), "-I", "-c", PROBE], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{python} cannot import warmstart:\n{done.stderr.strip()}")
        results.append(json.loads(done.stdout))
    return ImportTime([r["seconds"] for r in results], any(r["sklearn"] for r in results))
