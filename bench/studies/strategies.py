"""Strategies beside each other: accuracy, seconds, trained weights and the size of what is saved, MiniLM.

Every method has the same small budget: three rates around its default, each tried once on a dev part, which is drawn
from the texts that are left of the pool. The best then trains on the draws of three seeds and is scored on the test
part.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.assets import MINILM, fetch
from bench.defaults import texts
from bench.defaults.texts import Examples
from bench.studies.study import Options, Record, Results, Run, Study, chosen, results_folder, spread
from bench.table import markdown_table

SETS = {"sst2": texts.sst2, "trec": texts.trec, "banking77": texts.banking77, "germeval2018": texts.germeval2018}
FACTORS = (0.4, 1.0, 2.5)
"""On the default rate of a method."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Texts to train on, and at most to tune and to score on."""

    n: int
    dev: int = 600
    test: int = 100_000


def methods() -> dict[str, Callable[[], Any]]:
    """The strategies by name, in the order of the table."""
    import warmstart as ws

    return {
        "full": ws.FullFineTuning,
        "top 2 layers": lambda: ws.TopLayers(2),
        "BitFit": ws.BitFit,
        "norms": ws.NormTuning,
        "LoRA": ws.LoRA,
        "LoRA, attention": lambda: ws.LoRA(targets="attention"),
        "DoRA": lambda: ws.LoRA(dora=True),
        "MiSS": ws.MiSS,
        "LoRA + BitFit": lambda: ws.LoRA() + ws.BitFit(),
    }


def runs(options: Options) -> Iterator[Run]:
    """Of each set and size the rates of every method, then the seeds of its best."""
    sizes = options.size((Size(n=100), Size(n=1000)), (Size(n=40, dev=20, test=20),))
    for name in SETS:
        for size in sizes:
            for method in methods():
                key = {"set": name, "method": method} | asdict(size)
                for factor in FACTORS:
                    tried = key | {"part": "dev", "factor": factor, "seed": 0}
                    yield Run(tried, lambda k=tried: measured(options, k, k["factor"]))
                for seed in range(options.seeds):
                    final = key | {"part": "test", "seed": seed}
                    yield Run(final, lambda k=final: measured(options, k, best_factor(k)))


def best_factor(key: Record) -> float:
    """The rate that was best on the dev part, as a factor on the default; of equal ones the smallest."""
    records = Results(results_folder() / "strategies.jsonl").records()
    tried = chosen(records, **{name: key[name] for name in ("set", "method", "n", "dev", "test")}, part="dev")
    return float(max(tried, key=lambda record: (record["accuracy"], -record["factor"]))["factor"])


def drawn(options: Options, key: Record) -> tuple[Examples, Examples]:
    """The texts to train on, and those to score on."""
    splits = SETS[key["set"]](options.data)
    rows = list(range(len(splits.pool)))
    random.Random(key["seed"]).shuffle(rows)
    train = splits.pool.rows(rows[: key["n"]])
    if key["part"] == "dev":
        return train, splits.pool.rows(rows[-key["dev"] :])
    return train, splits.test.rows(range(min(key["test"], len(splits.test))))


def measured(options: Options, key: Record, factor: float) -> Record:
    """Train and score once."""
    import warmstart as ws

    train, asked = drawn(options, key)
    backbone, strategy = ws.Backbone.from_pretrained(fetch(MINILM)), methods()[key["method"]]()
    rate = factor * strategy.rate
    model = ws.TextClassifier(backbone, strategy=strategy, learning_rate=rate, random_state=key["seed"], verbose=False)
    started = time.perf_counter()
    model.fit(train.texts, train.labels)
    fit_s, n_trained = time.perf_counter() - started, model.report_.trainable_parameters
    accuracy = float(model.score(asked.texts, asked.labels))
    return {"accuracy": accuracy, "rate": rate, "fit_s": fit_s, "trained": n_trained, "factor": factor}


def report(records: Sequence[Record]) -> str:
    """A row for each method and a column for each set and size."""
    tested = chosen(records, part="test")
    cells = sorted(
        {(record["set"], record["n"]) for record in tested}, key=lambda cell: (list(SETS).index(cell[0]), cell[1])
    )
    rows = []
    for method in methods():
        own = [chosen(tested, method=method, set=name, n=n) for name, n in cells]
        of_all = [record for found in own for record in found]
        if not of_all:
            continue
        seconds = sum(record["fit_s"] for record in of_all) / len(of_all)
        saved = f"{4 * min(record['trained'] for record in of_all) / 1e6:.2f}"
        scores = [spread([100 * record["accuracy"] for record in found], "{:.1f}") for found in own]
        rows.append([method, f"{seconds:.0f}", saved, *scores])
    headings = ["strategy", "fit s, mean", "MB saved, at least", *(f"{name}, {n}" for name, n in cells)]
    return markdown_table(headings, rows)


STUDY = Study(runs, report)
