"""Make a study and print its table: ``python -m bench.studies NAME``, from the repository's root.

What is done stays in ``study-results``; a command that was stopped goes on where it was. ``--table`` prints what is
there.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from bench.assets import ROOT
from bench.environment import peers_python
from bench.studies.study import Options, Results, Study, results_folder

NAMES = ("scratch", "objectives", "domain", "decoder", "relatedness", "strategies")
WITH_PEERS = ("scratch", "relatedness")


def main() -> None:
    """Parse the command line, make what is missing, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="try the study itself out")
    parser.add_argument("--table", action="store_true", help="make nothing, print what is there")
    parser.add_argument("--peers-python", type=Path, help="an environment that has bench/requirements.txt")
    arguments = parser.parse_args()
    peers = arguments.peers_python or Path()
    if arguments.name in WITH_PEERS and not arguments.table and arguments.peers_python is None:
        peers = peers_python()
    options = Options(arguments.data, arguments.tiny, arguments.seeds, peers)
    study: Study = importlib.import_module(f"bench.studies.{arguments.name}").STUDY
    results = Results(results_folder() / f"{arguments.name}.jsonl")
    found = []
    for run in study.runs(options):
        record = results.find(run.key)
        if record is None and not arguments.table:
            print(f"{arguments.name}: {run.key}", file=sys.stderr, flush=True)
            started = time.perf_counter()
            record = run.key | run.measure() | {"seconds": time.perf_counter() - started}
            results.add(record)
        if record is not None:
            found.append(record)
    print(study.report(found))


if __name__ == "__main__":
    main()
