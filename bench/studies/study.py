"""What a study consists of: runs that are made one after another and kept, and a table of what is there."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.assets import ROOT, ignore_in_git

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How a study is made.

    Attributes
    ----------
    data
        The folder that holds ``wikitext2``, ``sst2`` and the others.
    tiny
        Sizes that try the path out; the figures mean nothing.
    seeds
        Of how many seeds, from 0 on.
    peers
        The interpreter of the peers' environment.
    """

    data: Path
    tiny: bool
    seeds: int
    peers: Path

    def size(self, full: Any, tiny: Any) -> Any:
        """The one or the other."""
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Run:
    """What identifies a run, its sizes included, and how its figures are found."""

    key: Record
    measure: Callable[[], Record]


@dataclass(frozen=True)
class Study:
    """``runs`` in the order in which they are made; ``report`` is Markdown, of records that may lack some of them."""

    runs: Callable[[Options], Iterable[Run]]
    report: Callable[[Sequence[Record]], str]


class Results:
    """Finished runs, one line of JSON each in a file; what was stopped goes on behind the last of them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, key: Record) -> Record | None:
        """The record of a run, if it was made."""
        return next((record for record in self.records() if record.items() >= key.items()), None)

    def add(self, record: Record) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[Record]:
        """All that were made, in their order."""
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]


def results_folder(root: Path = ROOT) -> Path:
    """Where finished runs and tokenised corpora lie; git does not see it."""
    folder = root / "study-results"
    folder.mkdir(exist_ok=True)
    ignore_in_git(folder)
    return folder


def spread(values: Sequence[float], form: str = "{:.3f}") -> str:
    """Mean with smallest and largest, and how many if there are not three."""
    if not values:
        return "-"
    mean, low, high = (form.format(f(values)) for f in (statistics.mean, min, max))
    if len(values) == 1:
        return f"{mean} (1 run)"
    return f"{mean} ({low}-{high})" + ("" if len(values) == 3 else f", {len(values)} runs")


def chosen(records: Iterable[Record], **fields: Any) -> list[Record]:
    """Those that have these fields."""
    return [record for record in records if record.items() >= fields.items()]
