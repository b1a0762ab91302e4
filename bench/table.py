"""The benchmark's result as Markdown: measurements, ratios against the bars asked for, settings."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.import_time import ImportTime

Runs = dict[str, list[dict[str, Any]]]  # worker results by side, one for each round

BARS = (  # peer, measure, bar, whether at least (else at most) the bar is asked
    ("trainer", "tokens_per_s", 3.0, True),
    ("trainer-length-grouped", "tokens_per_s", 1.2, True),
    ("trainer", "peak_rss_mb", 0.6, False),
    ("trainer-length-grouped", "peak_rss_mb", 0.6, False),
)
NAMES = {"tokens_per_s": "tokens/s", "peak_rss_mb": "peak memory"}
IMPORT_BAR_S = 0.3


def report(runs: Runs, imported: ImportTime | None, machine: str) -> str:
    """The whole report; sides and ratios that were not run are left out."""
    parts = [_measurements(runs, imported), _ratios(runs), _notes(runs, machine)]
    return "\n\n".join(part for part in parts if part)


def _measurements(runs: Runs, imported: ImportTime | None) -> str:
    forms = {"tokens_per_s": "{:,.0f}", "peak_rss_mb": "{:,.0f}", "seconds": "{:.1f}"}
    rows = [
        [side, *(_spread(_values(results, measure), form) for measure, form in forms.items())]
        for side, results in runs.items()
    ]
    text = _table(["side", "real tokens/s, median (min-max)", "peak memory MB", "training s"], rows)
    if imported is not None:
        met = imported.median_s <= IMPORT_BAR_S and not imported.sklearn_loaded
        text += (
            f"\n\n`import warmstart`: {_spread(imported.seconds, '{:.3f}')} s over {len(imported.seconds)} fresh "
            f"interpreters, scikit-learn {'loaded' if imported.sklearn_loaded else 'not loaded'}; "
            f"asked <= {IMPORT_BAR_S} s, not loaded: **{_verdict(met)}**"
        )
    return text


def _ratios(runs: Runs) -> str:
    rows = []
    for peer, measure, bar, at_least in BARS:
        if not (runs.get("warmstart") and runs.get(peer)):
            continue
        ours, theirs = _values(runs["warmstart"], measure), _values(runs[peer], measure)
        ratio = statistics.median(ours) / statistics.median(theirs)
        by_round = [a / b for a, b in zip(ours, theirs, strict=True)]
        met = ratio >= bar if at_least else ratio <= bar
        comparable = _tokens(runs["warmstart"]) == _tokens(runs[peer])
        measured = [f"{ratio:.2f}", f"{min(by_round):.2f}-{max(by_round):.2f}"]
        asked = f"{'>=' if at_least else '<='} {bar}"
        rows.append(
            [f"{NAMES[measure]}, warmstart / {peer}", *measured, asked, _verdict(met) if comparable else "void"]
        )
    return _table(["ratio", "of medians", "by round", "asked", ""], rows) if rows else ""


def _notes(runs: Runs, machine: str) -> str:
    lines = [f"- machine: {machine}"]
    results = {side: rounds[0] for side, rounds in runs.items() if rounds}
    for side, result in results.items():
        lines.append(
            f"- {side}: {_pairs(result['versions'])}; threads {result['threads']}; {_pairs(result['details'])}"
        )
    if results:
        first = next(iter(results.values()))
        lines.append(f"- settings: {_pairs(first['settings'])}, precision f32; rounds {max(map(len, runs.values()))}")
    tokens = {side: sorted(_tokens(rounds)) for side, rounds in runs.items()}
    if len(set().union(*tokens.values())) == 1:
        lines.append(f"- real tokens in each run: {next(iter(tokens.values()))[0]:,}")
    else:
        lines.append(f"- **void: the sides did not train on the same number of tokens**: {_pairs(tokens)}")
    return "\n".join(lines)


def _values(results: Iterable[dict[str, Any]], measure: str) -> list[float]:
    return [result[measure] for result in results]


def _tokens(results: Iterable[dict[str, Any]]) -> set[int]:
    return {result["tokens"] for result in results}


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return f"{middle} ({low}-{high})"


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
