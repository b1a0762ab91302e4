"""Reuters R8 from Orange's ``.tab`` files, and seeded slices of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HEADER = (["Category", "Text"], ["d", "string"], ["class"])  # names, types, flags


@dataclass(frozen=True)
class Documents:
    """Texts and their category names, row by row."""

    texts: list[str]
    labels: list[str]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise ValueError(f"{len(self.texts)} texts but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.texts)

    def sample(self, n_rows: int | None, seed: int) -> Documents:
        """``n_rows`` rows drawn without replacement; all rows in file order if None or not fewer."""
        if n_rows is None or n_rows >= len(self):
            return self
        rows = random.Random(seed).sample(range(len(self)), n_rows)
        return Documents([self.texts[row] for row in rows], [self.labels[row] for row in rows])


def read_r8(folder: Path, split: Literal["train", "test"]) -> Documents:
    """Read one split of Reuters R8: 5485 training or 2189 test documents of 8 categories.

    Parameters
    ----------
    folder
        Holds ``reuters-r8-train.tab`` and ``reuters-r8-test.tab``.

    Raises
    ------
    ValueError
        If the file does not have the three header rows and two columns expected.
    """
    return read_tab(folder / f"reuters-r8-{split}.tab")


def read_tab(path: Path) -> Documents:
    """Read a ``.tab`` file whose columns are ``Category`` and ``Text``."""
    lines = path.read_text(encoding="utf-8").split("\n")
    header = [line.rstrip("\r\t").split("\t") for line in lines[: len(HEADER)]]
    if header != list(HEADER):
        raise ValueError(f"{path}: header rows are {header}, expected {list(HEADER)}")
    texts, labels = [], []
    for number, line in enumerate(lines[len(HEADER) :], start=len(HEADER) + 1):
        if not line:
            continue
        columns = line.rstrip("\r").split("\t")
        if len(columns) != 2:
            raise ValueError(f"{path}, line {number}: {len(columns)} columns, expected 2")
        labels.append(columns[0])
        texts.append(columns[1])
    return Documents(texts, labels)
