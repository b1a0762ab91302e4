"""``make bench``: run every side in turn, each time in a fresh process, and print tables of ratios.

Run from the project's own environment: ``python -m bench.run``. Bars that are missed do not change the exit status.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from fnmatch import fnmatch
from pathlib import Path

from bench.assets import fetch_assets
from bench.environment import peers_python
from bench.machine import core_count, cpu_model
from bench.rounds import Interpreters, Runs, run_section
from bench.section import Section
from bench.sections import SECTIONS, TINY, Sizes
from bench.table import report


def chosen(only: list[str], sizes: Sizes, patterns: list[str]) -> list[Section]:
    """The sections named, each with the sides that match a pattern; those without any are left out."""
    sections = []
    for name in only:
        for section in SECTIONS[name](sizes):
            sides = tuple(side for side in section.sides if any(fnmatch(side.name, p) for p in patterns))
            if sides:
                sections.append(replace(section, sides=sides))
    return sections


def save(path: Path, section: Section, runs: Runs) -> None:
    """Append every worker's result, one a line."""
    with path.open("a", encoding="utf-8") as sink:
        for side, results in runs.items():
            for result in results:
                sink.write(json.dumps({"section": section.title, "side": side} | asdict(result)) + "\n")


def main() -> None:
    """Parse the command line, run the rounds, print each table as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--sides", nargs="+", metavar="PATTERN", default=["*"], help="such as 'warmstart*'")
    parser.add_argument("--peers-python", type=Path, help="interpreter with the peers (default: set up .venv-bench)")
    parser.add_argument("--json", type=Path, help="also append every worker's result here, one a line")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tiny", action="store_true", help="next to no work: to try the benchmark itself")
    size.add_argument("--rows", type=int, default=Sizes.rows, help="training documents (default: %(default)s)")
    options = parser.parse_args()

    fetch_assets()
    sections = chosen(options.only, TINY if options.tiny else Sizes(rows=options.rows), options.sides)
    if not sections:
        parser.error(f"no side matches {' '.join(options.sides)}")
    ours = peers = Path(sys.executable)
    if any(not side.ours for section in sections for side in section.sides):
        # not resolve(): a virtual environment's interpreter is a link, and following it leaves the environment
        peers = options.peers_python.absolute() if options.peers_python else peers_python()
    print(f"machine: {cpu_model()}, {core_count()} cores")
    if options.tiny:
        print("tiny sizes: the verdicts mean nothing")
    for section in sections:
        runs = run_section(section, Interpreters(ours, peers), options.rounds)
        if options.json is not None:
            save(options.json, section, runs)
        print(f"\n{report(section, runs)}", flush=True)


if __name__ == "__main__":
    main()
