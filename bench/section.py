"""What one comparison consists of, as plain data: sides, measures, bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Side:
    """One row of a table.

    Attributes
    ----------
    arguments
        For the section's worker.
    ours
        Whether it runs in the project's environment; else in the peers'.
    """

    name: str
    arguments: tuple[str, ...]
    ours: bool


@dataclass(frozen=True)
class Measure:
    """One column of a table.

    Attributes
    ----------
    key
        In the worker's ``measures``.
    heading
        With the unit.
    form
        How a value is printed, for ``str.format``.
    """

    key: str
    heading: str
    form: str = "{:,.0f}"


@dataclass(frozen=True)
class Bar:
    """What is asked of a ratio of two sides, or, with no ``under``, of one side's value.

    Attributes
    ----------
    over, under
        Names of sides: the ratio is ``over / under``.
    asked
        None shows the ratio without asking anything.
    equal
        What of a side's work must be the same on both; None is all of it.
    """

    measure: str
    over: str
    under: str | None
    sense: Literal[">=", "<="] = ">="
    asked: float | None = None
    equal: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes
    ----------
    module
        Of the worker: ``python -m bench.MODULE ARGUMENTS`` prints one JSON line.
    rounds
        Instead of the rounds asked for: one where nothing is random, more where a run takes a moment.
    """

    title: str
    module: str
    sides: tuple[Side, ...]
    measures: tuple[Measure, ...]
    bars: tuple[Bar, ...]
    rounds: int | None = None
