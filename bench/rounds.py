"""Run a section's workers in turn, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.assets import ROOT
from bench.section import Section, Side
from bench.worker import Result

Runs = dict[str, list[Result]]  # by side, one for each round


@dataclass(frozen=True)
class Interpreters:
    """Of the project's environment and of the peers'."""

    ours: Path
    peers: Path

    def of(self, side: Side) -> Path:
        return self.ours if side.ours else self.peers


def run_section(section: Section, interpreters: Interpreters, rounds: int) -> Runs:
    """A B C A B C ...: a machine that slows down slows all sides. A side that is not available is tried once.

    Raises
    ------
    SystemExit
        If a worker failed, with what it wrote.
    """
    rounds = section.rounds or rounds
    runs: Runs = {side.name: [] for side in section.sides}
    for number in range(1, rounds + 1):
        for side in section.sides:
            if runs[side.name] and runs[side.name][0].unavailable:
                continue
            result = run_worker(interpreters.of(side), section.module, side)
            runs[side.name].append(result)
            shown = ", ".join(
                f"{measure.form.format(result.measures[measure.key])} {measure.heading}"
                for measure in section.measures
                if measure.key in result.measures
            )
            progress = f"{section.title}, round {number}/{rounds}, {side.name}: {shown or 'not available'}"
            print(progress, file=sys.stderr, flush=True)
    return runs


def run_worker(python: Path, module: str, side: Side) -> Result:
    """One fresh process; its result."""
    command = [str(python), "-m", f"bench.{module}", *side.arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"The worker of side {side.name} failed: {' '.join(command)}\n{done.stderr.strip()}")
    return Result.from_json(done.stdout.splitlines()[-1])
