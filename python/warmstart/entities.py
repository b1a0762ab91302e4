"""Conversion between entities and BIO tags, and scores of predicted entities.

Tags are ``O``, or ``B-`` or ``I-`` before a label. ``I-`` after ``O`` or another label begins an entity too, as
seqeval 1.2.2 reads it by default.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OUTSIDE = "O"

Span = tuple[int, int, str]
"""Index of the first item, index after the last one, label."""


@dataclass(frozen=True)
class Entity:
    """An entity: a part of a text with a label.

    Attributes
    ----------
    start, end : int
        Characters ``text[start:end]``.
    label : str
        The entity's label.
    text : str
        The text of the entity.
    score : float
        Mean probability of the tags of its words.
    """

    start: int
    end: int
    label: str
    text: str
    score: float


def check_tag(tag: Any, where: str, known: Collection[str] = ()) -> str:
    """Return a tag as a plain str: a BIO tag, or one of a model's tags, `known`.

    Raises
    ------
    TypeError
        The tag is no str.
    ValueError
        The tag is neither a BIO tag nor in `known`.
    """
    if isinstance(tag, int | np.integer):
        raise TypeError(
            f"{where} is {tag!r}; tags are str, as 'B-person'. Numbers stand for names that the data set gives: of a "
            f"datasets.Dataset, names = dataset.features['ner_tags'].feature.names; pass "
            f"[[names[tag] for tag in tags] for tags in dataset['ner_tags']]"
        )
    if not isinstance(tag, str):
        raise TypeError(f"{where} is {tag!r} ({type(tag).__name__}); tags are str")
    plain: str = str.__str__(tag)  # the value of a member of class Tag(str, Enum)
    if plain != OUTSIDE and (plain[:2] not in ("B-", "I-") or len(plain) < 3) and plain not in known:
        own = "" if all(tag[:2] in ("B-", "I-", OUTSIDE) for tag in known) else ", or a tag of the model"
        raise ValueError(f"{where} is {plain!r}; expected 'O', or 'B-' or 'I-' before a label{own}")
    return plain


def in_scheme(tag: str, known: Collection[str]) -> str:
    """Return the form of a tag that a model has, if it has one.

    If a model has no ``B-`` tag of a label, that is the ``I-`` tag, as in IOB1; if it has neither, the label itself.

    Examples
    --------
    >>> in_scheme("B-place", {"O", "I-place"}), in_scheme("I-NOUN", {"NOUN", "VERB"}), in_scheme("B-x", {"O"})
    ('I-place', 'NOUN', 'B-x')
    """
    label = split_tag(tag)[1]
    return next((name for name in (tag, f"I-{label}", label) if label and name in known), tag)


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into its prefix, ``"B"`` or ``"I"``, and its label; ``"O"`` has an empty label.

    A published model may have tags without prefix, such as parts of speech. They count as ``"I"``, so that neighbouring
    words with the same tag are one entity, as in transformers (``TokenClassificationPipeline``).

    Examples
    --------
    >>> split_tag("B-person"), split_tag("O"), split_tag("NOUN")
    (('B', 'person'), ('O', ''), ('I', 'NOUN'))
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    return (tag[0], tag[2:]) if tag[:2] in ("B-", "I-") else ("I", tag)


def to_spans(tags: Sequence[str]) -> list[Span]:
    """Return the entities that tags mark.

    Examples
    --------
    >>> to_spans(["B-person", "I-person", "O", "I-place", "B-place"])
    [(0, 2, 'person'), (3, 4, 'place'), (4, 5, 'place')]
    """
    spans: list[Span] = []
    start, label = 0, ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        part, kind = split_tag(tag)
        if label and (part != "I" or kind != label):
            spans.append((start, i, label))
            label = ""
        if kind and not label:
            start, label = i, kind
    return spans


def to_tags(spans: Iterable[Span], n: int) -> list[str]:
    """Return the tags of n items, undoing `to_spans`."""
    tags = [OUTSIDE] * n
    for start, end, label in spans:
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def count(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], weights: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """Count entities that agree in position and label, each weighted by the weight of its text.

    Returns
    -------
    list of dict
        ``label, precision, recall, f1, support`` of each label that occurs, sorted.
    """
    both, there, found = Counter[str](), Counter[str](), Counter[str]()
    for gold_tags, tags, weight in zip(true, predicted, weights or [1] * len(true), strict=True):
        if not weight:
            continue
        gold, said = set(to_spans(gold_tags)), set(to_spans(tags))
        for counts, spans in ((both, gold & said), (there, gold), (found, said)):
            for *_, label in spans:
                counts[label] += weight  # type: ignore[assignment]
    return [
        {"label": label, **_measures(both[label], found[label], there[label]), "support": there[label]}
        for label in sorted({*there, *found})
    ]


def f1(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], weights: Sequence[float] | None = None
) -> float:
    """Return the F1 over all entities, equal to ``seqeval.metrics.f1_score``; 0 where there are none.

    With weights of the texts each entity is weighted by the weight of its text.

    Examples
    --------
    >>> f1([["B-person", "O", "B-place"]], [["B-person", "O", "O"]])
    0.6666666666666666
    """
    both = found = there = 0.0
    for gold_tags, tags, weight in zip(true, predicted, weights or [1] * len(true), strict=True):
        gold, said = set(to_spans(gold_tags)), set(to_spans(tags))
        both += weight * len(gold & said)
        found += weight * len(said)
        there += weight * len(gold)
    return float(_measures(both, found, there)["f1"])


def _measures(both: float, found: float, there: float) -> dict[str, float]:
    precision, recall = both / found if found else 0.0, both / there if there else 0.0
    total = precision + recall
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / total if total else 0.0}
