"""`TaggedTexts`: texts with tagged words, for training and evaluation."""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.backbone import Backbone
from warmstart.entities import count, f1, in_scheme
from warmstart.labels import Classes
from warmstart.options import optional_positive_int
from warmstart.prepared import Labelled
from warmstart.report import Report
from warmstart.scores import mean_loss
from warmstart.tagged import Windows
from warmstart.texts import Texts, to_list
from warmstart.weights import Weights, unless_alike

TagMetric = str | Callable[[list[list[str]], list[list[str]]], float]


@dataclass(frozen=True, eq=False)
class TaggedTexts:
    """Texts with the tags of their units."""

    windows: Windows
    tags: list[list[str]]
    weights: Weights | None = None
    """Weight of each text."""

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        texts: Texts,
        labels: Any,
        max_length: int | None,
        name: str = "",
        known: Collection[str] = (),
    ) -> "TaggedTexts":
        """Split texts into windows and read their tags: BIO tags, or those of a model, `known`.

        Raises
        ------
        TypeError, ValueError
            Texts and tags do not fit each other, or there is no word.
        """
        windows = Windows.of(backbone._inner, texts, optional_positive_int("max_length", max_length), f"{name}texts")
        tags = windows.read(labels, f"{name}labels", known)
        if not len(windows.spans):
            raise ValueError(f"{name}texts holds no words")
        return cls(windows, tags)

    def part(self, backbone: Backbone, texts: Texts, rows: NDArray[np.int64], max_length: int | None) -> "TaggedTexts":
        """Return a selection of the texts, without repeating the warnings of reading them."""
        items = to_list(texts, "texts")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            windows = Windows.of(backbone._inner, [items[row] for row in rows], max_length)
        weights = None if self.weights is None else unless_alike(self.weights[rows])
        return TaggedTexts(windows, [self.tags[row] for row in rows], weights)

    def counted(self) -> NDArray[np.int64]:
        """Return the indices of the texts whose weight is not 0."""
        return np.arange(len(self.tags)) if self.weights is None else np.flatnonzero(self.weights)

    def row_tags(self, known: Collection[str] = ()) -> list[str]:
        """Return the tag of each word, in the form that a model with the tags `known` has for it."""
        return [in_scheme(tag, known) for tag in self.windows.row_tags(self.tags)]

    def labelled(self, classes: Classes, name: str) -> Labelled:
        """Return the windows with the class of each of their words."""
        tags = self.row_tags(set(classes.values.tolist()))
        weights = None if self.weights is None else self.weights[self.windows.owners]
        return Labelled(self.windows.encodings, classes.encode(tags, len(tags), name), weights)

    def score(self, metric: TagMetric, found: NDArray[np.float32], classes: Classes) -> float:
        """Score logits ``[R, C]``, higher is better; a callable gets the true tags as they were given."""
        predicted = self._predicted(found, classes)
        if callable(metric):
            return float(metric(self.tags, predicted))
        return f1(self.tags, predicted) if metric == "f1" else self._accuracy(predicted, classes)

    def _predicted(self, found: NDArray[np.float32], classes: Classes) -> list[list[str]]:
        return self.windows.unit_tags(classes.values[found.argmax(axis=1)].tolist())

    def _accuracy(self, predicted: list[list[str]], classes: Classes, weights: list[float] | None = None) -> float:
        """Return the share of words with the right tag, in the form that the model has for it.

        Entities are compared as they were given instead: a model without ``B-`` tags cannot part neighbours.
        """
        known = set(classes.values.tolist())
        return _accuracy([[in_scheme(tag, known) for tag in tags] for tags in self.tags], predicted, weights)

    def report(self, found: NDArray[np.float32], classes: Classes, facts: dict[str, Any] | None = None) -> Report:
        """Return the report on logits ``[R, C]``; `facts` are those of the training run."""
        predicted = self._predicted(found, classes)
        data, weights = self.labelled(classes, "labels"), None if self.weights is None else self.weights.tolist()
        per_class = count(self.tags, predicted, weights)
        return Report(
            classes=[row["label"] for row in per_class],
            n_texts=len(self.counted()),
            accuracy=self._accuracy(predicted, classes, weights),
            macro_f1=float(np.mean([row["f1"] for row in per_class])) if per_class else 0.0,
            entity_f1=f1(self.tags, predicted, weights),
            loss=mean_loss(found, data.targets, False, None, data.sample_weight) if len(found) else 0.0,
            per_class=per_class,
            training=facts or {},
        )


def _accuracy(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], weights: Sequence[float] | None = None
) -> float:
    pairs = [
        gold == said for tags, own in zip(true, predicted, strict=True) for gold, said in zip(tags, own, strict=True)
    ]
    of_words = None if weights is None else np.repeat(weights, [len(tags) for tags in true])
    counts = bool(pairs) if of_words is None else bool(of_words.any())
    return float(np.average(pairs, weights=of_words)) if counts else 0.0
