"""A peer learns and predicts in a process of its own, in its own environment: a request in, an outcome out, as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.assets import ROOT
from bench.environment import quiet_and_offline
from bench.machine import versions

# Learns from a request (model, texts, labels as numbers, seed); what it returns predicts numbers.
Learn = Callable[[dict[str, Any]], Callable[[list[str]], Sequence[int]]]


def run_peer(name: str, python: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run ``bench.defaults.NAME`` with another interpreter.

    Raises
    ------
    RuntimeError
        The process failed; the end of its error output is told.
    """
    with tempfile.TemporaryDirectory() as scratch:  # where checkpoints may go
        done = subprocess.run(
            [str(python.absolute()), "-m", f"bench.defaults.{name}"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=scratch,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    if done.returncode != 0:
        raise RuntimeError(
            f"{name} with {python} ended with exit status {done.returncode}:\n{done.stderr.strip()[-2000:]}\n"
            f"Check that this environment has what bench/defaults/{name}.py imports."
        )
    return json.loads(done.stdout.splitlines()[-1])


def serve(learn: Learn, *packages: str) -> None:
    """The other end of `run_peer`: labels become numbers, for all peers alike, and come back as they were."""
    quiet_and_offline()
    request = json.load(sys.stdin)
    classes = sorted(set(request["labels"]))
    number = {label: i for i, label in enumerate(classes)}
    request["labels"] = [number[label] for label in request["labels"]]
    started = time.perf_counter()
    predict = learn(request)
    seconds = time.perf_counter() - started
    predicted = [classes[int(i)] for i in predict(request["test_texts"])]
    print("\n" + json.dumps({"predicted": predicted, "seconds": seconds, "versions": versions(*packages)}), flush=True)
