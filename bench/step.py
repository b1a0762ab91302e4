"""Worker: full training steps of a fixed shape on one side, and print one JSON line.

A step is forward, backward with dropout, clipping at norm 1 and AdamW. Run from the repository's root:
``python -m bench.step --side torch --shape 6x384 --precision bf16``.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any, Protocol

from bench.environment import quiet_and_offline
from bench.machine import peak_rss_mb
from bench.step_model import SHAPES, Shape
from bench.worker import Result, emit


class StepSide(Protocol):
    """One way of training; ``n_parameters`` and ``last_loss`` are known after ``run``."""

    warm_up: int
    n_parameters: int
    last_loss: float

    def run(self, timed: int) -> list[float]: ...
    def versions(self) -> dict[str, str]: ...
    def threads(self) -> int: ...
    def details(self) -> dict[str, Any]: ...


def make_side(name: str, shape: Shape, precision: str) -> StepSide:
    """Import a side's libraries, and only those, and make it."""
    if name == "warmstart":
        from bench.step_warmstart import WarmstartStep

        return WarmstartStep(shape, precision)
    quiet_and_offline()
    from bench.step_torch import TorchStep

    return TorchStep(shape, precision, compiled=name == "torch-compile")


def step(side_name: str, shape_name: str, precision: str, timed: int) -> Result:
    """Median seconds of the timed steps; the peak resident set is the whole process's."""
    shape = SHAPES[shape_name]
    side = make_side(side_name, shape, precision)
    seconds = side.run(timed)
    return Result(
        measures={"step_s": statistics.median(seconds), "peak_rss_mb": peak_rss_mb()},
        equal={"batch": f"{shape.texts}x{shape.tokens}", "parameters": side.n_parameters},
        settings={"warm_up_steps": side.warm_up, "timed_steps": timed, "learning_rate": 5e-5, "weight_decay": 0.01},
        versions=side.versions(),
        threads=side.threads(),
        details=side.details() | {"loss": round(side.last_loss, 3), "step_s": [round(s, 3) for s in seconds]},
    )


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=("warmstart", "torch", "torch-compile"), required=True)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--precision", choices=("f32", "bf16"), required=True)
    parser.add_argument("--steps", type=int, default=6, help="timed ones (default: %(default)s)")
    options = parser.parse_args()
    emit(lambda: step(options.side, options.shape, options.precision, options.steps))


if __name__ == "__main__":
    main()
