"""The methods that are compared: each learns from texts and labels, with a clock on that, and predicts others."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.defaults.peer import run_peer
from bench.defaults.texts import Examples
from bench.machine import versions

RATES = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4)
PEERS = ("trainer", "setfit")


@dataclass(frozen=True)
class Outcome:
    """What was predicted, seconds spent learning (predicting excluded), and with which libraries."""

    predicted: list[Any]
    seconds: float
    versions: dict[str, str]


@dataclass
class Methods:
    """The methods on one backbone.

    Parameters
    ----------
    directory
        The backbone as a Hugging Face directory.
    pythons
        By name of a peer the interpreter of an environment that has it.
    """

    directory: Path
    pythons: dict[str, Path]
    _vectors: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import warmstart as ws

        self._backbone = ws.Backbone.from_pretrained(self.directory)

    def run(self, method: str, train: Examples, texts: list[Any], seed: int, rate: float | None = None) -> Outcome:
        """One method by its name; ``rate`` is that of "finetune"."""
        if method in PEERS:
            request = {
                "model": str(self.directory.absolute()),
                "texts": train.texts,
                "labels": train.labels,
                "seed": seed,
            }
            return Outcome(**run_peer(method, self.pythons[method], request | {"test_texts": texts}))
        if method == "features":
            return self._features(train, texts)
        if method == "finetune":
            return self._finetune(train, texts, seed, rate)
        return self._fitted(self._estimator(train, random_state=seed), train, texts)

    def _finetune(self, train: Examples, texts: list[Any], seed: int, rate: float | None) -> Outcome:
        """Full fine-tuning as other libraries do it, from random weights in the head, where the default solves for it.

        Five passes in batches of 16, and no fewer than 100 steps: enough for every rate to get somewhere.
        """
        from warmstart import probe

        estimator = self._estimator(
            train,
            learning_rate=rate,
            batch_size=16,
            max_steps=max(100, 5 * math.ceil(len(train) / 16)),
            random_state=seed,
        )
        with patch.object(probe.Probe, "of", return_value=None):
            return self._fitted(estimator, train, texts)

    def _features(self, train: Examples, texts: list[str]) -> Outcome:
        """As ``make_pipeline(FeatureExtractor(backbone), LogisticRegression(max_iter=1000))``, no text twice."""
        from sklearn.linear_model import LogisticRegression

        started = time.perf_counter()
        model = LogisticRegression(max_iter=1000).fit(self._embed(train.texts), train.labels)
        seconds = time.perf_counter() - started
        return Outcome(model.predict(self._embed(texts)).tolist(), seconds, versions("warmstart", "scikit-learn"))

    def _embed(self, texts: list[str]) -> Any:
        import warmstart as ws

        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            found = ws.FeatureExtractor(self._backbone).transform(new)  # [N, D]
            self._vectors.update(zip(new, found, strict=True))
        return np.stack([self._vectors[text] for text in texts])

    def _estimator(self, train: Examples, **options: Any) -> Any:
        import warmstart as ws

        kind = ws.TextClassifier if isinstance(train.texts[0], str) else ws.TokenClassifier
        return kind(self._backbone, verbose=False, **options)

    def _fitted(self, estimator: Any, train: Examples, texts: list[Any]) -> Outcome:
        started = time.perf_counter()
        estimator.fit(train.texts, train.labels)
        seconds = time.perf_counter() - started
        predict: Callable[[list[Any]], Sequence[Any]] = getattr(estimator, "predict_tags", estimator.predict)
        predicted = predict(texts)
        return Outcome(
            predicted.tolist() if isinstance(predicted, np.ndarray) else list(predicted),
            seconds,
            versions("warmstart"),
        )
