"""The runs as Markdown: tables of means beside what was asked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.defaults.draws import N_DRAWS
from bench.defaults.runs import FEW_DRAWS, SETFIT_DATA, TRAINER_SIZE, best_rate
from bench.defaults.texts import DATA_SETS, FULL, PER_CLASS
from bench.studies.study import Record, chosen
from bench.table import markdown_table

ALLOWED = 0.5  # points that a cell may lose, besides two standard errors
ALLOWED_ENTITIES = 2.0
CELLS = [(data.name, size) for data in DATA_SETS if not data.entities for size in data.sizes if size != FULL]

Scores = Mapping[int, float]  # points by draw


def report(records: Sequence[Record]) -> str:
    """All parts for which there are runs.

    Raises
    ------
    ValueError
        The runs are of several backbones or test parts.
    """
    settings = {(record["backbone"], record["limit_test"]) for record in records}
    if len(settings) > 1:
        raise ValueError(f"runs of {len(settings)} settings in one file: {sorted(settings, key=str)}; keep them apart")
    parts = [_cells, _trainer, _setfit, _full, _entities, _notes]
    return "\n\n".join(text for part in parts if (text := part(records)))


@dataclass(frozen=True)
class Difference:
    """``a - b`` over the draws that both have.

    Attributes
    ----------
    mean
        In points.
    error
        Standard error of the mean of the paired differences; NaN of a single draw.
    """

    mean: float
    error: float
    draws: int

    @classmethod
    def of(cls, a: Scores, b: Scores) -> Difference:
        differences = [a[draw] - b[draw] for draw in sorted(a.keys() & b.keys())]
        n = len(differences)
        error = statistics.stdev(differences) / math.sqrt(n) if n > 1 else math.nan
        return cls(statistics.mean(differences), error, n)


def points(records: Sequence[Record], data: str, size: str, method: str) -> dict[int, float]:
    """Test scores by draw, times 100; of "finetune" with the rate that was chosen on the dev part."""
    rate = best_rate(records, data, size) if method == "finetune" else None
    found = chosen(records, data=data, size=size, method=method, part="test", rate=rate)
    return {record["draw"]: 100 * record["score"] for record in found}


def against_the_better(records: Sequence[Record], data: str, size: str) -> Difference | None:
    """The default less the better of the two others, which is that of the higher mean over the draws of all three."""
    default, *others = (points(records, data, size, method) for method in ("default", "features", "finetune"))
    common = default.keys() & others[0].keys() & others[1].keys()
    if not common:
        return None
    better = max(others, key=lambda scores: statistics.mean(scores[draw] for draw in common))
    return Difference.of(default, {draw: better[draw] for draw in common})


def _cells(records: Sequence[Record]) -> str:
    rows, found = [], []
    for data, size in CELLS:
        cell = chosen(records, data=data, size=size, part="test")
        if not cell:
            continue
        means = [_mean(points(records, data, size, method)) for method in ("default", "features", "finetune")]
        rate = best_rate(records, data, size)
        difference = against_the_better(records, data, size)
        row = [data, f"{cell[0]['train']:,}", *means, "-" if rate is None else f"{rate:g}"]
        if difference is None:
            rows.append([*row, "-", "-", "-", "0", "open"])
            continue
        found.append(difference.mean)
        floor = -(ALLOWED + 2 * difference.error)
        verdict = _verdict(difference.mean >= floor, difference.draws == N_DRAWS)
        error, asked = (f"{difference.error:.2f}", _signed(floor)) if difference.draws > 1 else ("-", "-")
        numbers = [_signed(difference.mean), error, asked, str(difference.draws)]
        rows.append([*row, *numbers, verdict])
    if not rows:
        return ""
    header = [
        "data",
        "texts",
        "default",
        "features",
        "finetune",
        "rate",
        "default - better",
        "s.e.",
        "asked >=",
        "draws",
    ]
    parts = ["Accuracy in percent, means of the draws:", markdown_table([*header, ""], rows)]
    if found:
        mean = statistics.mean(found)
        complete = len(found) == len(CELLS) and all(row[-2] == str(N_DRAWS) for row in rows)
        parts.append(
            f"default - better, mean over {len(found)} of {len(CELLS)} cells: {_signed(mean)} points, asked >= 0: "
            f"{_verdict(mean >= 0, complete)}."
        )
    return "\n\n".join(parts)


def _trainer(records: Sequence[Record]) -> str:
    rows = []
    for data, default, trainer in _beside(records, "trainer", TRAINER_SIZE, [d.name for d in DATA_SETS]):
        difference = Difference.of(default, trainer)
        verdict = _verdict(difference.mean > 0, difference.draws == FEW_DRAWS)
        means = [_mean(default), _mean(trainer), _signed(difference.mean)]
        rows.append([data, *means, str(difference.draws), verdict])
    if not rows:
        return ""
    header = ["data, 1,000 texts", "default", "Trainer's defaults", "difference, asked > 0", "draws", ""]
    return markdown_table(header, rows)


def _setfit(records: Sequence[Record]) -> str:
    rows = []
    for data, default, setfit in _beside(records, "setfit", PER_CLASS, SETFIT_DATA):
        seconds = [_seconds(records, data, PER_CLASS, method, setfit) for method in ("default", "setfit")]
        rows.append([data, _mean(default), _mean(setfit), *seconds, str(len(setfit))])
    if not rows:
        return ""
    header = ["data, 8 a class", "default", "setfit's defaults", "default, s to learn", "setfit, s", "draws"]
    return markdown_table(header, rows)


def _full(records: Sequence[Record]) -> str:
    rows = []
    for data in DATA_SETS:
        found = chosen(records, data=data.name, size=FULL, method="default", part="test")
        if found:
            scores = points(records, data.name, FULL, "default")
            low, high = min(scores.values()), max(scores.values())
            seconds = _seconds(records, data.name, FULL, "default", scores)
            rows.append([data.name, f"{found[0]['train']:,}", _mean(scores), f"{low:.2f}-{high:.2f}", seconds])
            rows[-1].append(str(len(scores)))
    return (
        markdown_table(["data, full size", "texts", "default", "from-to", "s to learn", "seeds"], rows) if rows else ""
    )


def _entities(records: Sequence[Record]) -> str:
    rows = []
    for data in DATA_SETS:
        if not data.entities:
            continue
        for name, default, best in _beside(records, "finetune", data.sizes[0], [data.name]):
            difference = Difference.of(default, best)
            verdict = _verdict(difference.mean >= -ALLOWED_ENTITIES, difference.draws == FEW_DRAWS)
            rate = f"{best_rate(records, name, data.sizes[0]):g}"
            means = [_mean(default), _mean(best), rate, _signed(difference.mean)]
            rows.append([f"{name}, {data.sizes[0]} sentences", *means, str(difference.draws), verdict])
    header = ["F1 of entities", "default", "best of five rates", "rate", "difference, asked >= -2", "draws", ""]
    return markdown_table(header, rows) if rows else ""


def _notes(records: Sequence[Record]) -> str:
    """What was run: the backbone, a test part that is only a sample, the libraries of each method."""
    if not records:
        return ""
    lines = [f"- backbone {records[0]['backbone']}"]
    if (limit := records[0]["limit_test"]) is not None:
        lines.append(f"- **scored on {limit:,} test texts only: these figures mean nothing**")
    for method in dict.fromkeys(record["method"] for record in records):
        libraries = {tuple(record["versions"].items()) for record in chosen(records, method=method)}
        lines += [
            f"- {method}: {', '.join(f'{name} {version}' for name, version in some)}" for some in sorted(libraries)
        ]
    return "\n".join(lines)


def _beside(
    records: Sequence[Record], method: str, size: str, names: Sequence[str]
) -> Iterator[tuple[str, Scores, Scores]]:
    """Data sets with the scores of the default and of a method, over the draws that both have."""
    for data in names:
        default, other = points(records, data, size, "default"), points(records, data, size, method)
        common = sorted(default.keys() & other.keys())
        if common:
            yield data, {draw: default[draw] for draw in common}, {draw: other[draw] for draw in common}


def _seconds(records: Sequence[Record], data: str, size: str, method: str, draws: Scores) -> str:
    found = chosen(records, data=data, size=size, method=method, part="test")
    return f"{statistics.mean(record['seconds'] for record in found if record['draw'] in draws):.1f}"


def _verdict(met: bool, complete: bool) -> str:
    return "open" if not complete else "met" if met else "**missed**"


def _mean(scores: Scores) -> str:
    return f"{statistics.mean(scores.values()):.2f}" if scores else "-"


def _signed(value: float) -> str:
    return f"{value:+.2f}"
