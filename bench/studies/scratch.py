"""Small BERT, GPT-2 and XLNet from scratch, beside transformers and a Kneser-Ney 5-gram model.

Both sides begin with the same weights and see the same ids, masks and permutations, with the same AdamW, in float32 and
without dropout, so that their losses can be compared step by step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from bench.studies.scratch_sides import FAMILIES, ORDER, Size, count, train
from bench.studies.study import Options, Record, Run, Study, chosen, spread
from bench.table import markdown_table

FULL, TINY = Size(), Size(4, 2, 256, 32, 2, 1000)
CORPORA = ("wikitext2", "tinyshakespeare")
SIDES = ("warmstart", "transformers")


def runs(options: Options) -> Iterator[Run]:
    """The counts once, then both sides of every model, seed by seed."""
    size = options.size(FULL, TINY)
    for corpus in CORPORA:
        key = {"corpus": corpus, "family": f"{ORDER}-gram", "side": "kneser-ney", "seed": 0} | asdict(size)
        yield Run(key, lambda corpus=corpus: count(options, size, corpus))
    for seed in range(options.seeds):
        for corpus in CORPORA:
            for family in FAMILIES:
                for side in SIDES:
                    key = {"corpus": corpus, "family": family, "side": side, "seed": seed} | asdict(size)
                    yield Run(key, lambda k=key: train(options, size, k["corpus"], k["family"], k["side"], k["seed"]))


def report(records: Sequence[Record]) -> str:
    """Held-out losses as they fall, then what tells the sides apart."""
    falls, ends = [], []
    steps = next((record["held_out"] for record in records if "held_out" in record), [])
    for corpus in CORPORA:
        for family, objective in FAMILIES.items():
            ours, theirs = (
                {r["seed"]: r for r in chosen(records, corpus=corpus, family=family, side=s)} for s in SIDES
            )
            losses = [[loss for _, loss in record["held_out"]] for record in ours.values()]
            falls.append(
                [corpus, family, objective, *(spread([run[at] for run in losses]) for at in range(len(steps)))]
            )
            pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
            ends.append(
                [
                    corpus,
                    family,
                    *(
                        spread([math.exp(r["held_out"][-1][1]) for r in side.values()], "{:.2f}")
                        for side in (ours, theirs)
                    ),
                    *(_largest([_difference(a[of], b[of]) for a, b in pairs]) for of in ("held_out", "training")),
                ]
            )
        for record in chosen(records, corpus=corpus, side="kneser-ney"):
            ends.append([corpus, record["family"], f"{record['perplexity']:.2f}", "", "", ""])
    header = ["text", "model", "loss", *(f"step {step}" for step, _ in steps)]
    compared = [
        "text",
        "model",
        "perplexity",
        "transformers",
        "held-out loss, largest difference",
        "training loss, same",
    ]
    return markdown_table(header, falls) + "\n\n" + markdown_table(compared, ends)


def _difference(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The largest at a step that both tell of."""
    losses = {int(step): loss for step, loss in theirs}
    return max(abs(loss - losses[int(step)]) for step, loss in ours)


def _largest(differences: Sequence[float]) -> str:
    return f"{max(differences):.1e}" if differences else "-"


STUDY = Study(runs, report)
