"""Texts or lists of words with tags or entities, split into windows for token classification.

A *unit* is an item that has a tag for the user: a word of a list, or for a plain text a word as the core splits it. A
*row* is a word as the core splits it. A unit is tagged by the first row that begins in it; it has no row if the
tokenizer gives no token for it. A unit without a row continues an entity that stands on both sides of it, and is
outside otherwise.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.entities import OUTSIDE, Entity, Span, check_tag, split_tag, to_spans, to_tags
from warmstart.texts import Texts, is_missing, normalise, to_list, warn_unread
from warmstart.warn import warn

NO_ROW = -1


@dataclass(frozen=True, eq=False)
class Windows:
    """N texts, encoded in windows for the core.

    Attributes
    ----------
    texts : list of str
        The texts; words of lists are joined by spaces.
    encodings : Encodings
        Encodings of the windows, with R rows.
    spans : ndarray of int64, shape (R, 2)
        Start and end of each row, in characters.
    owners : ndarray of int64, shape (R,)
        Index of the text of each row.
    units : list of ndarray of int64, shape (U, 2)
        For each text, start and end of its units in characters.
    rows : list of ndarray of int64, shape (U,)
        For each text, the row of each unit, or `NO_ROW`.
    are_words : bool
        Whether texts were given as lists of words.
    """

    texts: list[str]
    encodings: _core.Encodings
    spans: NDArray[np.int64]
    owners: NDArray[np.int64]
    units: list[NDArray[np.int64]]
    rows: list[NDArray[np.int64]]
    are_words: bool

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def of(cls, backbone: _core.Backbone, texts: Texts, max_length: int | None, name: str = "texts") -> "Windows":
        """Split texts into windows.

        Raises
        ------
        TypeError, ValueError
            The elements are neither texts nor lists of words.
        """
        items = to_list(texts, name)
        for i, item in enumerate(items):
            if is_missing(item):
                raise TypeError(f"{name}[{i}] is {item}; expected str or a list of words; drop the missing texts")
        are_words = bool(items) and not isinstance(items[0], str)
        word_lists = [_words(item, f"{name}[{i}]") for i, item in enumerate(items)] if are_words else []
        plain = [" ".join(words) for words in word_lists] if are_words else normalise(items, name)[0]
        try:
            encodings, owners, spans = backbone.encode_windows(plain, max_length)
        except UnicodeEncodeError as error:
            raise ValueError(f"{name} holds text that is not valid Unicode: {error}") from error
        warn_unread(encodings)
        bounds = np.searchsorted(owners, np.arange(len(plain) + 1))
        units, rows = [], []
        for i in range(len(plain)):
            first, behind = int(bounds[i]), int(bounds[i + 1])
            if not are_words:
                units.append(spans[first:behind])
                rows.append(np.arange(first, behind))
                continue
            ends = np.cumsum([len(word) + 1 for word in word_lists[i]], dtype=np.int64) - 1
            starts = ends - np.array([len(word) for word in word_lists[i]], dtype=np.int64)
            found = first + np.searchsorted(spans[first:behind, 0], starts)
            inside = found < behind
            inside[inside] = spans[found[inside], 0] < ends[inside]
            units.append(np.stack([starts, ends], axis=1).reshape(-1, 2))
            rows.append(np.where(inside, found, NO_ROW))
        return cls(plain, encodings, spans, owners, units, rows, are_words)

    def read(self, labels: Any, name: str = "labels", known: Collection[str] = ()) -> list[list[str]]:
        """Return the tags of every text's units, as far as a model can give them.

        No model tags a word without tokens: an entity loses such words at its ends, and an entity of only such words is
        dropped. Training and scores use the same remaining tags.

        Parameters
        ----------
        labels : sequence
            For every text the tags of its words, or its entities: ``(start, end, label)``, mappings with these keys, or
            `Entity`, which do not overlap.
        known : collection of str
            Tags of a model, which need not be BIO tags.

        Raises
        ------
        TypeError, ValueError
            The labels are of another type or do not fit the texts.

        Warns
        -----
        UserWarning
            Entities do not begin and end with a word, and are moved to whole ones; or they have no word of their own,
            and are left out; or tags are on words that give no tokens, and not within an entity.
        """
        items = to_list(labels, name)
        if len(items) != len(self):
            raise ValueError(f"{name} has {len(items)} entries for {len(self)} texts; every text needs one")
        tags, moved, lost = [], 0, 0
        for i, item in enumerate(items):
            where = f"{name}[{i}]"
            own = to_list(item, where)
            if self._are_tags(own, i):
                tags.append(self._read_tags(own, i, where, known))
            elif self.are_words and len(own) != len(self.units[i]) and not own:
                tags.append(to_tags([], len(self.units[i])))
            else:
                spans, n_moved, n_lost = self._read_entities(own, i, where)
                moved, lost = moved + n_moved, lost + n_lost
                tags.append(to_tags(spans, len(self.units[i])))
        for n, what in (
            (moved, "do not begin and end with a word; they are moved to whole words"),
            (lost, "have no word of their own, but spaces or one that the entity before has; they are left out"),
        ):
            if n:
                warn(f"{n} entities {what}")
        readable = [
            self._unit_tags(text, self._row_tags(text, own)) if NO_ROW in self.rows[text] else own
            for text, own in enumerate(tags)
        ]
        self._warn_dropped(tags, readable, name)
        return readable

    def _warn_dropped(self, tags: list[list[str]], readable: list[list[str]], name: str) -> None:
        dropped = [
            (text, unit)
            for text, row_of in enumerate(self.rows)
            for unit in np.flatnonzero(row_of == NO_ROW).tolist()
            if readable[text][unit] != tags[text][unit]
        ]
        if dropped:
            text, unit = dropped[0]
            word = self.texts[text][slice(*self.units[text][unit])]
            warn(
                f"{len(dropped)} tags of {name} are dropped, as their words give no tokens: the first is "
                f"{tags[text][unit]!r} on word {unit} of text {text}, {word!r}; entities are learnt and scored without "
                "those words",
            )

    def _are_tags(self, own: list[Any], text: int) -> bool:
        """Tell tags from entities; also for wrong tags, such as None for every word."""
        if own and isinstance(own[0], str | int | np.integer):
            return True
        one_each = self.are_words and len(own) == len(self.units[text])
        return one_each and not any(isinstance(item, tuple | list | Mapping | Entity) for item in own)

    def _read_tags(self, tags: list[Any], text: int, where: str, known: Collection[str]) -> list[str]:
        if not self.are_words:
            raise TypeError(f"{where} holds tags, but texts[{text}] is one str; pass it as a list of words")
        if len(tags) != len(self.units[text]):
            raise ValueError(f"{where} has {len(tags)} tags for {len(self.units[text])} words")
        return [check_tag(tag, f"{where}[{j}]", known) for j, tag in enumerate(tags)]

    def _read_entities(self, entities: list[Any], text: int, where: str) -> tuple[list[Span], int, int]:
        """Return spans of units, the number of entities moved to whole units, and the number left out."""
        units, whole = self.units[text], self.texts[text]
        spans, moved, lost, last_end, taken = [], 0, 0, 0, 0
        for start, end, label in sorted(_entity(entity, f"{where}[{j}]") for j, entity in enumerate(entities)):
            if not 0 <= start < end <= len(whole):
                raise ValueError(f"{where}: characters {start} to {end} are no part of a text of {len(whole)}")
            if start < last_end:
                raise ValueError(f"{where}: the entity at characters {start} to {end} overlaps the one before it")
            last_end = end
            first = max(int(np.searchsorted(units[:, 1], start, side="right")), taken)
            behind = int(np.searchsorted(units[:, 0], end))
            if first >= behind:
                lost += 1
                continue
            moved += int(units[first, 0] != start or units[behind - 1, 1] != end)
            spans.append((first, behind, label))
            taken = behind
        return spans, moved, lost

    def row_tags(self, tags: Sequence[Sequence[str]]) -> list[str]:
        """Return a tag for each of the R rows: that of its unit, with ``I-`` for later rows of an entity.

        If an entity's first units have no row, its first row gets ``B-``.
        """
        return [tag for text, own in enumerate(tags) for tag in self._row_tags(text, own)]

    def _rows_of(self, text: int) -> slice:
        first, behind = np.searchsorted(self.owners, (text, text + 1)).tolist()
        return slice(first, behind)

    def _row_tags(self, text: int, tags: Sequence[str]) -> list[str]:
        starts = self.spans[self._rows_of(text), 0]
        unit_of = np.searchsorted(self.units[text][:, 0], starts, side="right") - 1
        out = [OUTSIDE] * len(starts)
        for start, end, label in to_spans(tags):
            first, behind = np.searchsorted(unit_of, (start, end)).tolist()
            if first == behind:
                continue
            out[first:behind] = [f"I-{label}"] * (behind - first)
            # Two entities may have become neighbours, if the units between them have no row.
            if tags[start][0] == "B" or (first and out[first - 1][2:] == label):
                out[first] = f"B-{label}"
        return out

    def unit_tags(self, row_tags: Sequence[str]) -> list[list[str]]:
        """Return the tags of every text's units, from the tags of the rows."""
        return [self._unit_tags(text, row_tags[self._rows_of(text)]) for text in range(len(self))]

    def _unit_tags(self, text: int, row_tags: Sequence[str]) -> list[str]:
        tags: list[str] = []
        first, before, without = self._rows_of(text).start, OUTSIDE, 0
        for row in self.rows[text].tolist():
            if row == NO_ROW:
                without += 1
                continue
            tag = row_tags[row - first]
            goes_on = split_tag(tag) == ("I", split_tag(before)[1])
            tags += [tag if goes_on else OUTSIDE] * without
            tags.append(tag)
            before, without = tag, 0
        return tags + [OUTSIDE] * without

    def entities(self, row_tags: Sequence[str], row_scores: NDArray[np.float64]) -> list[list[Entity]]:
        """Return every text's entities, from the tags of the rows and their probabilities ``[R]``."""
        found = []
        for text, tags in enumerate(self.unit_tags(row_tags)):
            units, rows, whole = self.units[text], self.rows[text], self.texts[text]
            own = []
            for first, behind, label in to_spans(tags):
                start, end = int(units[first, 0]), int(units[behind - 1, 1])
                own_rows = rows[first:behind]
                score = float(row_scores[own_rows[own_rows != NO_ROW]].mean())
                own.append(Entity(start, end, label, whole[start:end], score))
            found.append(own)
        return found


def _words(item: Any, where: str) -> list[str]:
    words = to_list(item, where)
    for j, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"{where}[{j}] is {word!r} ({type(word).__name__}); words are str")
    return words


def _entity(entity: Any, where: str) -> Span:
    if isinstance(entity, Entity):
        return entity.start, entity.end, entity.label
    if isinstance(entity, Mapping):
        try:
            entity = (entity["start"], entity["end"], entity["label"])
        except KeyError as error:
            raise ValueError(f"{where} has no {error}; expected start, end and label") from error
    if not isinstance(entity, tuple | list) or len(entity) != 3:
        raise TypeError(f"{where} is {entity!r}; expected (start, end, label)")
    start, end, label = entity
    if not isinstance(start, int | np.integer) or not isinstance(end, int | np.integer):
        raise TypeError(f"{where} is {entity!r}; start and end are numbers of characters")
    if not isinstance(label, str) or not label:
        raise TypeError(f"{where} is {entity!r}; its label is to be a str")
    return int(start), int(end), str.__str__(label)  # the value of a member of class Label(str, Enum)
