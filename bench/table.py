"""A section's result as Markdown: measurements, ratios against the bars asked for, settings."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.rounds import Runs
from bench.section import Bar, Measure, Section
from bench.worker import Result

MISSING = "not available"


def report(section: Section, runs: Runs) -> str:
    """One section; ratios of a side that was not run are left out."""
    parts = [f"## {section.title}", _measurements(section, runs), _ratios(section, runs), _notes(runs)]
    return "\n\n".join(part for part in parts if part)


def _measurements(section: Section, runs: Runs) -> str:
    rows = [
        [side, *(_spread(_values(results, measure.key), measure.form) for measure in section.measures)]
        for side, results in runs.items()
    ]
    return markdown_table(["side, median (min-max)", *(measure.heading for measure in section.measures)], rows)


def _ratios(section: Section, runs: Runs) -> str:
    measures = {measure.key: measure for measure in section.measures}
    rows = [
        _ratio(bar, measures[bar.measure], runs)
        for bar in section.bars
        if bar.over in runs and (bar.under is None or bar.under in runs)
    ]
    return markdown_table(["ratio", "of medians", "by round", "asked", ""], rows) if rows else ""


def _ratio(bar: Bar, measure: Measure, runs: Runs) -> list[str]:
    label = f"{measure.heading}: {bar.over}" + ("" if bar.under is None else f" / {bar.under}")
    asked = "" if bar.asked is None else f"{bar.sense} {bar.asked:g}"
    over = _values(runs[bar.over], bar.measure)
    under = [1.0] * len(over) if bar.under is None else _values(runs[bar.under], bar.measure)
    if not over or not under:
        return [label, MISSING, "", asked, "" if bar.asked is None else "open"]
    ratio = statistics.median(over) / statistics.median(under)
    by_round = [a / b for a, b in zip(over, under, strict=True)]
    form = measure.form if bar.under is None else "{:.2f}"
    spread = f"{form.format(min(by_round))}-{form.format(max(by_round))}"
    return [label, form.format(ratio), spread, asked, _verdict(bar, ratio, runs)]


def _verdict(bar: Bar, ratio: float, runs: Runs) -> str:
    if bar.under is not None and _equal(runs[bar.over], bar) != _equal(runs[bar.under], bar):
        return "void: unequal work"
    if bar.asked is None:
        return ""
    return "met" if (ratio >= bar.asked if bar.sense == ">=" else ratio <= bar.asked) else "**missed**"


def _equal(results: Iterable[Result], bar: Bar) -> set[str]:
    asked = [{key: result.equal[key] for key in bar.equal or result.equal} for result in results]
    return {_pairs(work) for work in asked}


def _notes(runs: Runs) -> str:
    results = {side: rounds[0] for side, rounds in runs.items() if rounds}
    measured = {side: result for side, result in results.items() if not result.unavailable}
    lines = [f"- {side}: {MISSING}: {result.unavailable}" for side, result in results.items() if result.unavailable]
    environments: dict[str, list[str]] = {}
    for side, result in measured.items():
        threads = "" if result.threads is None else f"; threads {result.threads}"
        environments.setdefault(_pairs(result.versions) + threads, []).append(side)
    lines += [f"- {', '.join(sides)}: {text}" for text, sides in environments.items()]
    common = _common([result.settings for result in measured.values()])
    equal = _common([result.equal for result in measured.values()])
    for side, result in measured.items():
        own = _without(result.settings, common) | _without(result.equal, equal) | result.details
        if own:
            lines.append(f"- {side}: {_pairs(own)}")
    if measured:
        lines.append(f"- all: {_pairs(common | equal | {'rounds': max(map(len, runs.values()))})}")
    return "\n".join(lines)


def _common(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all have and agree on."""
    first = facts[0] if facts else {}
    return {key: value for key, value in first.items() if all(key in f and f[key] == value for f in facts)}


def _without(facts: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in common}


def _values(results: Iterable[Result], key: str) -> list[float]:
    return [result.measures[key] for result in results if key in result.measures]


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return MISSING
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {f'{value:,}' if type(value) is int else value}" for key, value in values.items())


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
