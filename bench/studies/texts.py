"""The texts of the studies, as their sources publish them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from bench.data import Documents

Tagged = tuple[list[list[str]], list[list[str]]]
Scored = tuple[list[tuple[str, str]], list[float]]


def articles(data: Path) -> list[str]:
    """The articles of wikitext2's two files, each from its title to the next."""
    text = "".join((data / "wikitext2" / name).read_text(encoding="utf-8") for name in ("valid.txt", "test.txt"))
    parts = re.split(r"(?m)^(?= = [^=].*[^=] = $)", text)
    return [part.strip() for part in parts if part.strip()]


def scenes(data: Path, characters: int) -> list[str]:
    """tinyshakespeare: speeches that follow each other, at least so many characters together."""
    speeches = (data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8").split("\n\n")
    found, scene = [], ""
    for speech in speeches:
        scene = f"{scene}\n\n{speech}" if scene else speech
        if len(scene) >= characters:
            found.append(scene)
            scene = ""
    return found + ([scene] if scene else [])


def abstracts(data: Path) -> list[str]:
    """Biomedical abstracts, which blank lines separate."""
    text = (data / "biomed_raw" / "abstracts.txt").read_text(encoding="utf-8")
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def held_out(documents: list[str]) -> tuple[list[str], list[str]]:
    """All but the last tenth, and that."""
    n = max(1, len(documents) // 10)
    return documents[:-n], documents[-n:]


def sst2(data: Path, split: str) -> Documents:
    """Sentences and their sentiment."""
    rows = [line.split("\t") for line in _lines(data / "sst2" / f"{split}.tsv")]
    return Documents([row[0] for row in rows], [row[1] for row in rows])


def sick(data: Path, split: str, most: int) -> Scored:
    """Pairs of sentences and their relatedness, from 1 to 5."""
    name = {"train": "SICK_train", "dev": "SICK_trial", "test": "SICK_test_annotated"}[split]
    rows = list(csv.DictReader(_lines(data / "sick" / f"{name}.txt"), delimiter="\t"))[:most]
    return [(row["sentence_A"], row["sentence_B"]) for row in rows], [float(row["relatedness_score"]) for row in rows]


def sts(data: Path, split: str, most: int) -> Scored:
    """Pairs of sentences and their similarity, from 0 to 5; what follows line 8,500 of the test part is in train."""
    lines = list(_lines(data / "sts" / f"2015.{'val' if split == 'dev' else split}.tsv", keep_blank=True))
    rows = [line.split("\t") for line in lines[: 8500 if split == "test" else None]]
    rows = [row for row in rows if row[0]][:most]
    return [(row[1], row[2]) for row in rows], [float(row[0]) for row in rows]


def chemprot(data: Path, split: str) -> Documents:
    """Sentences with two marked names, and how what they name is related."""
    rows = [json.loads(line) for line in _lines(data / "chemprot" / f"{split}.jsonl")]
    return Documents([row["text"] for row in rows], [row["label"] for row in rows])


def trec(data: Path, split: str) -> Documents:
    """Questions and what they ask for: 50 kinds."""
    lines = (data / "trec" / f"{split}.txt").read_text(encoding="latin-1").splitlines()
    rows = [line.partition(" ") for line in lines if line]
    return Documents([text for _, _, text in rows], [label for label, _, _ in rows])


def wnut17(data: Path, split: str) -> Tagged:
    """Words and BIO tags of posts."""
    return _tagged(data / "wnut17" / f"{split}.conll")


def ncbi_disease(data: Path, split: str) -> Tagged:
    """Words and BIO tags of sentences of abstracts."""
    return _tagged(data / "ncbi-disease" / f"{split}.txt")


def _tagged(path: Path) -> Tagged:
    words: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    for line in _lines(path, keep_blank=True):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if words[-1]:
                words.append([])
                tags.append([])
        else:
            words[-1].append(columns[0])
            tags[-1].append(columns[-1])
    return [w for w in words if w], [t for t in tags if t]


def _lines(path: Path, keep_blank: bool = False) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip() or keep_blank:
            yield line.rstrip("\r")
