"""Worker: pretraining steps of a 12x768 model from random weights on one side, and print one JSON line.

A step is forward, backward with dropout, clipping at norm 1 and AdamW. Run from the repository's root:
``python -m bench.pretraining --side torch --objective masked --precision bf16 --text ragged``.
"""

from __future__ import annotations

import argparse
from typing import Protocol

from bench.environment import quiet_and_offline
from bench.machine import peak_rss_mb
from bench.pretraining_documents import documents
from bench.step_model import Shape
from bench.worker import Result, emit

SHAPES = {
    "masked": Shape(12, 768, texts=8, tokens=128),
    "causal": Shape(12, 768, texts=8, tokens=128, vocabulary=50257, family="gpt2"),
}
SIDES = ("warmstart", "torch", "torch-grouped")
WARM_UP = 2


class PretrainingSide(Protocol):
    """One way of training; ``last_loss`` is known after ``run``."""

    last_loss: float

    def run(self, documents: list[list[int]]) -> tuple[list[float], list[int]]: ...
    def versions(self) -> dict[str, str]: ...
    def threads(self) -> int: ...


def make_side(name: str, objective: str, precision: str) -> PretrainingSide:
    """Import a side's libraries, and only those, and make it."""
    if name == "warmstart":
        from bench.pretraining_warmstart import WarmstartPretraining

        return WarmstartPretraining(SHAPES[objective], objective, precision)
    quiet_and_offline()
    from bench.pretraining_torch import TorchPretraining

    return TorchPretraining(SHAPES[objective], objective, precision, name == "torch-grouped")


def pretraining(side_name: str, objective: str, precision: str, text: str, steps: int) -> Result:
    """Tokens a second over the steps after those to warm up; the peak resident set is the whole process's."""
    read = documents(SHAPES[objective], text == "ragged", WARM_UP + steps)
    side = make_side(side_name, objective, precision)
    seconds, tokens = side.run(read)
    timed = sum(tokens[WARM_UP:])
    return Result(
        measures={"tokens_per_s": timed / sum(seconds[WARM_UP:]), "peak_rss_mb": peak_rss_mb()},
        equal={"documents": len(read), "tokens": sum(tokens)},
        settings={"warm_up_steps": WARM_UP, "steps": len(seconds), "learning_rate": 5e-5, "weight_decay": 0.01},
        versions=side.versions(),
        threads=side.threads(),
        details={"loss": round(side.last_loss, 3), "step_s": [round(s, 3) for s in seconds], "tokens": tokens},
    )


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--objective", choices=SHAPES, required=True)
    parser.add_argument("--precision", choices=("f32", "bf16"), required=True)
    parser.add_argument("--text", choices=("even", "ragged"), required=True)
    parser.add_argument("--steps", type=int, default=6, help="of 1024 tokens, timed (default: %(default)s)")
    options = parser.parse_args()
    emit(lambda: pretraining(options.side, options.objective, options.precision, options.text, options.steps))


if __name__ == "__main__":
    main()
