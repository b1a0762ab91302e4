"""Our side of the step benchmark: ``TextClassifier.fit``, clocked step by step."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import warmstart as ws
from warmstart._core import get_num_threads
from warmstart.history import History

from bench.machine import versions
from bench.step_model import Shape, as_text, write_tokenizer


class WarmstartStep:
    """One run of ``warm_up + timed`` steps over distinct texts, in one epoch.

    The surface has no bare step. The core tells the history after every step how many seconds passed since training
    began; the differences are whole steps, the making of the batch included. Tokenising lies before the first and the
    audit of gradients in it; the check of the weights at the epoch's end comes after the last.
    """

    warm_up = 2

    def __init__(self, shape: Shape, precision: str) -> None:
        self.shape, self.precision = shape, precision
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer(shape, Path(folder))
            # Opened from a file, as one is to train it.
            ws.Backbone.from_config(shape.config(), folder, random_state=0).save_pretrained(Path(folder) / "model")
            self.backbone = ws.Backbone.from_pretrained(Path(folder) / "model")

    def run(self, timed: int) -> list[float]:
        """Seconds of each timed step.

        Raises
        ------
        RuntimeError
            If a step was not of ``[B, T]`` tokens or not reported.
        """
        ids, labels = self.shape.rows(self.warm_up + timed)
        batch_tokens = self.shape.texts * self.shape.tokens
        classifier = ws.TextClassifier(
            self.backbone,
            strategy=ws.FullFineTuning(schedule="constant", warmup_ratio=0.0),
            epochs=1,
            batch_tokens=batch_tokens,
            precision=self.precision,
            random_state=0,
            verbose=False,
        )
        records: list[dict[str, Any]] = []
        with mock.patch.object(History, "add_step", lambda _, record: records.append(dict(record))):
            classifier.fit([as_text(row) for row in ids], labels)
        expected = [(step, step * batch_tokens) for step in range(1, self.warm_up + timed + 1)]
        if [(record["step"], record["tokens"]) for record in records] != expected:
            raise RuntimeError(f"expected steps of {batch_tokens} tokens, each reported; got {records}")
        self.n_parameters = int(classifier.report_.training["parameters"])
        self.last_loss = float(records[-1]["loss"])
        elapsed = [float(record["elapsed_s"]) for record in records[self.warm_up - 1 :]]
        return [after - before for before, after in pairwise(elapsed)]

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("warmstart", "numpy")

    def threads(self) -> int:
        """As the library chose."""
        return int(get_num_threads())

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {}
