"""Estimated against measured peaks of memory; ``python -m bench.memory`` prints a table, a fresh process each row."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from typing import Any

from bench.step_model import SHAPES


def measure(case: dict[str, Any]) -> dict[str, int]:
    """Run one case of `bench.memory_worker` in a process of its own."""
    command = [sys.executable, "-m", "bench.memory_worker", json.dumps(case)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Every shape, strategy, precision, batch size, and recomputation; two steps each."""
    print("| shape | strategy | tokens | precision | recompute | estimate MB | measured MB | ratio |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for strategy, name, tokens, precision, recompute in product(
        ("FullFineTuning", "LinearProbing"), SHAPES, (1024, 4096), ("bf16", "f32"), (False, True)
    ):
        if recompute and strategy == "LinearProbing":  # nothing is differentiated there
            continue
        shape = SHAPES[name]
        case = {
            "shape": {"layers": shape.layers, "hidden": shape.hidden, "texts": 8, "tokens": 128},
            "batches": 2 * tokens // 1024,
            "params": {
                "strategy": strategy,
                "batch_tokens": tokens,
                "precision": precision,
                "recompute": recompute,
                "epochs": 1,
            },
        }
        found = measure(case)
        estimated, measured = found["estimated"] / 1e6, found["measured"] / 1e6
        print(
            f"| {name} | {strategy} | {tokens} | {precision} | {recompute} "
            f"| {estimated:.0f} | {measured:.0f} | {estimated / measured:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
