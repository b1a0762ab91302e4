"""Which runs there are, and the learning rate that those on the dev part choose."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.defaults.draws import N_DRAWS
from bench.defaults.methods import RATES
from bench.defaults.texts import FULL, PER_CLASS, DataSet
from bench.studies.study import Record, chosen

METHODS = ("default", "features", "finetune", "trainer", "setfit")
TRAINER_SIZE = "1000"
SETFIT_DATA = ("trec", "sst2", "germeval2018")
FEW_DRAWS = 3  # of what is reported beside, and at full size: as many seeds
TUNING_DRAWS = 1


@dataclass(frozen=True)
class Run:
    """A method on a draw, which is its seed too, scored on the test part, or on the dev part to choose a rate."""

    data: str
    size: str
    method: str
    draw: int
    part: str = "test"
    rate: float | None = None


def runs(
    data: DataSet, size: str, methods: Sequence[str], n_draws: int, records: Callable[[], Sequence[Record]]
) -> Iterator[Run]:
    """The runs of a cell in their order; ``records`` tells, when it comes to that, what those on the dev part gave."""
    for method in methods:
        draws = range(min(n_draws, draws_asked(data, size, method)))
        rate = None
        if method == "finetune" and draws:
            for rate in RATES:
                for draw in draws[:TUNING_DRAWS]:
                    yield Run(data.name, size, method, draw, "dev", rate)
            rate = best_rate(records(), data.name, size)
        for draw in draws:
            yield Run(data.name, size, method, draw, rate=rate)


def draws_asked(data: DataSet, size: str, method: str) -> int:
    """How many draws of a cell a method is asked for; 0 where it takes no part."""
    if size == FULL or data.entities:
        return FEW_DRAWS if method == "default" or (data.entities and method == "finetune") else 0
    if method == "trainer":
        return FEW_DRAWS if size == TRAINER_SIZE else 0
    if method == "setfit":
        return FEW_DRAWS if size == PER_CLASS and data.name in SETFIT_DATA else 0
    return N_DRAWS


def best_rate(records: Sequence[Record], data: str, size: str) -> float | None:
    """The rate with the best mean on the dev part, of two equal ones the smaller; None before all five were tried."""
    means = {}
    for rate in RATES:
        tried = chosen(records, data=data, size=size, method="finetune", part="dev", rate=rate)
        if not tried:
            return None
        means[rate] = statistics.mean(record["score"] for record in tried)
    return max(means, key=means.__getitem__)
