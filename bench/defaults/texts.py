"""The data sets: what draws are made of, what is scored on, and a published dev file where there is one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.studies.texts import Tagged, wnut17

PER_CLASS = "8-a-class"
FULL = "full"


@dataclass(frozen=True)
class Examples:
    """Texts and what is to be found in each: a label, or for texts that are lists of words a tag a word."""

    texts: list[Any]
    labels: list[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, rows: Iterable[int]) -> Examples:
        """These rows, in this order."""
        rows = list(rows)
        return Examples([self.texts[row] for row in rows], [self.labels[row] for row in rows])


@dataclass(frozen=True)
class Splits:
    """``pool`` is what training texts are drawn from; ``dev`` is None where the source publishes none."""

    pool: Examples
    test: Examples
    dev: Examples | None = None


@dataclass(frozen=True)
class DataSet:
    """One data set of the comparison.

    Attributes
    ----------
    sizes
        Of the draws, by name; those of less than two texts a class are left out.
    stratified
        Draws have the classes in proportion to the pool.
    """

    name: str
    read: Callable[[Path], Splits]
    sizes: tuple[str, ...]
    stratified: bool
    entities: bool = False


def trec(data: Path) -> Splits:
    """Questions and what they ask for: 6 coarse kinds."""

    def read(name: str) -> Examples:
        rows = [line.partition(" ") for line in _lines(data / "trec" / name)]
        return Examples([text for _, _, text in rows], [label.partition(":")[0] for label, _, _ in rows])

    return Splits(read("train.txt"), read("test.txt"))


def banking77(data: Path) -> Splits:
    """Questions to a bank: 77 intents."""

    def read(name: str) -> Examples:
        with (data / "banking77" / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return Examples([row["text"] for row in rows], [row["category"] for row in rows])

    return Splits(read("train.csv"), read("test.csv"))


def sst2(data: Path) -> Splits:
    """Sentences of film reviews: 2 sentiments."""
    return Splits(*(_columns(data / "sst2" / f"{name}.tsv") for name in ("train", "test", "dev")))


def germeval2018(data: Path) -> Splits:
    """German tweets: offensive or not."""
    return Splits(*(_columns(data / "germeval2018" / name) for name in ("training.txt", "test.txt")))


def clinc150(data: Path) -> Splits:
    """Requests to an assistant: 150 intents, and as the 151st class what is none of them."""
    published = json.loads((data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))

    def read(name: str) -> Examples:
        rows = published[name] + published[f"oos_{name}"]
        return Examples([text for text, _ in rows], [label for _, label in rows])

    return Splits(read("train"), read("test"), read("val"))


def entities(data: Path) -> Splits:
    """wnut17: words of posts and BIO tags of 6 types."""
    return Splits(*(_examples(wnut17(data, name)) for name in ("train", "test", "dev")))


DATA_SETS = (
    DataSet("trec", trec, (PER_CLASS, "50", "200", "1000", FULL), stratified=False),
    DataSet("banking77", banking77, (PER_CLASS, "200", "1000", FULL), stratified=False),
    DataSet("sst2", sst2, (PER_CLASS, "50", "200", "1000", FULL), stratified=True),
    DataSet("clinc150", clinc150, (PER_CLASS, "1000", FULL), stratified=True),
    DataSet("germeval2018", germeval2018, (PER_CLASS, "50", "200", "1000", FULL), stratified=True),
    DataSet("wnut17", entities, ("600",), stratified=False, entities=True),
)


def _examples(tagged: Tagged) -> Examples:
    return Examples(*tagged)


def _columns(path: Path) -> Examples:
    """Text and label are the first two columns."""
    rows = [line.split("\t") for line in _lines(path)]
    return Examples([row[0] for row in rows], [row[1] for row in rows])


def _lines(path: Path) -> Sequence[str]:
    return [line.rstrip("\r") for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
