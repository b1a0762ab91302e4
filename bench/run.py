"""``make bench``: run the sides in turn, each time in a fresh process, and print one table of ratios.

Run from the project's own environment: ``python -m bench.run``. Bars that are missed do not change the exit status.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.assets import ROOT, fetch_assets
from bench.environment import peers_python
from bench.import_time import measure_import
from bench.machine import core_count, cpu_model
from bench.settings import SIDES
from bench.table import Runs, report


def run_worker(python: Path, side: str, rows: int, seed: int) -> dict[str, Any]:
    """One fresh process of :mod:`bench.finetune`; its result.

    Raises
    ------
    SystemExit
        If the worker failed, with what it wrote.
    """
    command = [str(python), "-m", "bench.finetune", "--side", side, "--rows", str(rows), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"The worker of side {side} failed:\n{done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Parse the command line, run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", type=Path, help="interpreter with the peers (default: set up .venv-bench)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=512, help="training documents (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of every training run (default: %(default)s)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="default: all, in this order")
    parser.add_argument("--json", type=Path, help="also write every worker's result here, one a line")
    options = parser.parse_args()

    fetch_assets()
    ours = Path(sys.executable)
    needs_peers = any(side != "warmstart" for side in options.sides)
    peers = ours
    if needs_peers:
        # not resolve(): a virtual environment's interpreter is a link, and following it leaves the environment
        peers = options.peers_python.absolute() if options.peers_python else peers_python()
    runs: Runs = {side: [] for side in options.sides}
    for number in range(1, options.rounds + 1):
        for side in options.sides:
            result = run_worker(ours if side == "warmstart" else peers, side, options.rows, options.seed)
            runs[side].append(result)
            print(
                f"round {number}/{options.rounds}  {side}: {result['tokens_per_s']:,.0f} tokens/s, "
                f"{result['peak_rss_mb']:,.0f} MB",
                file=sys.stderr,
                flush=True,
            )
    if options.json is not None:
        lines = [json.dumps(result) for results in runs.values() for result in results]
        options.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
    imported = measure_import(ours) if "warmstart" in options.sides else None
    print(report(runs, imported, f"{cpu_model()}, {core_count()} cores"))


if __name__ == "__main__":
    main()
