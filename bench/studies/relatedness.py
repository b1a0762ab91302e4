"""Pairs of sentences and how alike they are: `TextRegressor` beside transformers, MiniLM, the same number of epochs.

The learning rate of transformers is the best of two on the dev part by Spearman's correlation, seed 0; ours is the
default.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.assets import MINILM, fetch
from bench.studies import texts
from bench.studies.study import Options, Record, Results, Run, Study, chosen, results_folder, spread
from bench.table import markdown_table

SETS = {"sick": texts.sick, "sts": texts.sts}
RATES = (5e-5, 1e-4)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Passes, and pairs of each part at most."""

    epochs: int = 3
    most: int = 100_000


def runs(options: Options) -> Iterator[Run]:
    """Of each set the rates of transformers, then both sides, seed by seed."""
    size = options.size(Size(), Size(epochs=1, most=40))
    for name in SETS:
        for rate in RATES:
            key = {"set": name, "side": "transformers", "part": "dev", "rate": rate, "seed": 0} | asdict(size)
            yield Run(key, lambda k=key: transformers_side(options, size, k))
        for seed in range(options.seeds):
            key = {"set": name, "side": "warmstart", "part": "test", "seed": seed} | asdict(size)
            yield Run(key, lambda k=key: own_side(options, size, k["set"], k["seed"]))
            key = {"set": name, "side": "transformers", "part": "test", "seed": seed} | asdict(size)
            yield Run(key, lambda k=key: transformers_side(options, size, k | {"rate": best_rate(k["set"], size)}))


def best_rate(name: str, size: Size) -> float:
    """The rate that was best on the dev part."""
    records = Results(results_folder() / "relatedness.jsonl").records()
    tried = chosen(records, set=name, side="transformers", part="dev", **asdict(size))
    return float(max(tried, key=lambda record: record["spearman"])["rate"])


def own_side(options: Options, size: Size, name: str, seed: int) -> Record:
    """Train with defaults but for precision and epochs, and evaluate on the test part."""
    import warmstart as ws

    (pairs, scores), (asked, known) = (SETS[name](options.data, part, size.most) for part in ("train", "test"))
    model = ws.TextRegressor(
        ws.Backbone.from_pretrained(fetch(MINILM)),
        epochs=size.epochs,
        precision="f32",
        random_state=seed,
        verbose=False,
    ).fit(pairs, scores)
    report = model.evaluate(asked, known)
    return {"n": len(known), "pearson": report.pearson, "spearman": report.spearman}


def transformers_side(options: Options, size: Size, key: Record) -> Record:
    """Hand the pairs to a process of the peers' environment."""
    parts = {part: SETS[key["set"]](options.data, part, size.most) for part in ("train", key["part"])}
    work = {
        "model": str(fetch(MINILM)),
        "train": parts["train"],
        "asked": parts[key["part"]],
        **{name: key[name] for name in ("rate", "seed", "epochs")},
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "work.json").write_text(json.dumps(work), encoding="utf-8")
        command = [str(options.peers), "-m", "bench.studies.relatedness_transformers", f"{folder}/work.json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: Record = json.loads(done.stdout.splitlines()[-1])
    return result | {"rate": key["rate"]}


def report(records: Sequence[Record]) -> str:
    """A row for each set and side."""
    rows = []
    for name in SETS:
        for side in ("warmstart", "transformers"):
            found = chosen(records, set=name, side=side, part="test")
            rates = sorted({f"{record['rate']:g}" for record in found if "rate" in record}) or ["default"]
            correlations = (spread([record[which] for record in found], "{:.4f}") for which in ("pearson", "spearman"))
            rows.append([name, side, ", ".join(rates), *correlations])
    return markdown_table(["pairs", "side", "rate", "Pearson", "Spearman"], rows)


STUDY = Study(runs, report)
