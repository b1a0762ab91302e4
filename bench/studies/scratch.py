"""Small BERT, GPT-2 and XLNet from scratch, beside transformers and a Kneser-Ney 5-gram model.

Both sides begin with the same weights and see the same ids, masks and permutations, with the same AdamW, in float32 and
without dropout, so that their losses can be compared step by step.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from bench.studies.scratch_sides import FAMILIES, ORDER, Size, count, train
from bench.studies.study import Options, Record, Run, Study, chosen, spread
from bench.table import markdown_table

FULL, TINY = Size(), Size(width=32, vocab_size=1000, steps=4, evaluations=2, batch_tokens=256)
TIMES = 10  # as many steps, where GPT-2 is compared with the counts
CORPORA = ("wikitext2", "tinyshakespeare")
SIDES = ("warmstart", "transformers")
EXACT = "transformers, float64"  # tells whose rounding it is where the sides part: of GPT-2, the quickest
LONGER = "warmstart, longer"


def runs(options: Options) -> Iterator[Run]:
    """The counts once, both sides of every model, seed by seed; then GPT-2 in float64, and for longer."""
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
        for corpus in CORPORA:
            key = {"corpus": corpus, "family": "gpt2", "side": EXACT, "seed": seed} | asdict(size)
            yield Run(key, lambda k=key: train(options, size, k["corpus"], "gpt2", EXACT, k["seed"]))
    longer = replace(size, steps=TIMES * size.steps)
    for seed in range(options.seeds):
        for corpus in CORPORA:
            key = {"corpus": corpus, "family": "gpt2", "side": LONGER, "seed": seed} | asdict(longer)
            yield Run(key, lambda k=key: train(options, longer, k["corpus"], "gpt2", LONGER, k["seed"]))


def report(records: Sequence[Record]) -> str:
    """Held-out losses as they fall; what tells the sides apart; GPT-2 beside the counts."""
    return "\n\n".join(table for table in (_falls(records), _sides(records), _counts(records)) if table)


def _falls(records: Sequence[Record]) -> str:
    rows, steps = [], []
    for corpus in CORPORA:
        for family, objective in FAMILIES.items():
            curves = [r["held_out"] for r in chosen(records, corpus=corpus, family=family, side=SIDES[0])]
            steps = [step for step, _ in curves[0]] if curves else steps
            losses = [spread([loss for _, loss in at]) for at in zip(*curves, strict=True)]
            rows.append([corpus, family, objective, *losses])
    rows = [row for row in rows if len(row) > 3]
    return markdown_table(["text", "model", "held-out loss", *(f"step {step}" for step in steps)], rows) if rows else ""


def _sides(records: Sequence[Record]) -> str:
    rows = []
    for corpus in CORPORA:
        for family in FAMILIES:
            ours, theirs, exact = (
                {r["seed"]: r for r in chosen(records, corpus=corpus, family=family, side=side)}
                for side in (*SIDES, EXACT)
            )
            seeds = sorted(ours.keys() & theirs.keys())
            ends = [spread([side[seed]["held_out"][-1][1] for seed in seeds], "{:.4f}") for side in (ours, theirs)]
            apart = [_apart(*pair, steps=ours) for pair in ((ours, theirs), (ours, exact), (theirs, exact))]
            if seeds:
                rows.append([corpus, family, *ends, *apart])
    between = ["apart", "ours from float64", "theirs from float64"]
    return markdown_table(["text", "model", "last held-out loss", "transformers", *between], rows) if rows else ""


def _counts(records: Sequence[Record]) -> str:
    rows = []
    for corpus in CORPORA:
        for record in chosen(records, corpus=corpus, side="kneser-ney"):
            curves = [r["held_out"] for r in chosen(records, corpus=corpus, side=LONGER)]
            for at in zip(*curves, strict=True):
                perplexity = spread([math.exp(loss) for _, loss in at], "{:.1f}")
                rows.append([corpus, f"{at[0][0]}", perplexity, f"{record['perplexity']:.1f}"])
    return markdown_table(["text", "step", "GPT-2's perplexity", f"Kneser-Ney {ORDER}-gram"], rows) if rows else ""


def _apart(one: dict[int, Record], other: dict[int, Record], steps: dict[int, Record]) -> str:
    """Of each seed the largest difference of training losses at the steps that one side tells of: median, largest."""
    found = []
    for seed in one.keys() & other.keys():
        losses = [{int(step): loss for step, loss in side[seed]["training"]} for side in (one, other)]
        told = [int(step) for step, _ in steps[seed]["training"]]  # equal steps for every pair: ours tells of fewest
        found.append(max(abs(losses[0][step] - losses[1][step]) for step in told))
    return f"{statistics.median(found):.0e}, {max(found):.0e}" if found else "-"


STUDY = Study(runs, report)
