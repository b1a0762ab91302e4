"""Our side: ``warmstart.TextClassifier`` through its public surface."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import warmstart as ws
from warmstart._core import get_num_threads

from bench.data import Documents
from bench.machine import versions
from bench.settings import Settings

STRATEGIES = {"full": ws.FullFineTuning, "probing": ws.LinearProbing, "lora": lambda: ws.LoRA(rank=8, alpha=16)}


@dataclass
class WarmstartSide:
    """``fit`` tokenises and solves for the head that training begins from, and its clock covers both.

    ``epoch_s`` is the training loop alone.

    Parameters
    ----------
    precision
        Of matrix products; "auto" is the default of the library.
    """

    model_dir: Path
    settings: Settings
    precision: str

    def prepare(self, train: Documents) -> None:
        """Load the backbone; ``fit`` takes the documents as texts."""
        self.documents = train
        self.backbone = ws.Backbone.from_pretrained(self.model_dir)

    def warm_up(self) -> None:
        """One step of a model that is thrown away."""
        few = 2 * self.settings.batch_size  # probing computes the features of all it is given
        self._classifier(max_steps=1).fit(self.documents.texts[:few], self.documents.labels[:few])

    def train(self) -> float:
        """Train from the pretrained weights; seconds spent in ``fit``, tokenising included."""
        self.classifier = self._classifier()
        started = time.perf_counter()
        self.classifier.fit(self.documents.texts, self.documents.labels)
        seconds = time.perf_counter() - started
        last = self.classifier.history_.rows[-1]  # tokens, steps and seconds of the training loop, from its start
        self.n_tokens = int(last["tokens"])
        self.n_trainable = int(self.classifier.report_.trainable_parameters)
        self.steps = int(last["step"])
        self.epoch_s = float(last["elapsed_s"])
        return seconds

    def predict(self, texts: list[str]) -> list[str]:
        """Labels from the trained model."""
        return [str(label) for label in self.classifier.predict(texts)]

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("warmstart", "numpy")

    def threads(self) -> int:
        """As the library chose."""
        return int(get_num_threads())

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {
            "strategy": repr(self.classifier.strategy),
            "optimizer": repr(self.classifier.optimizer),
            "learning_rate": self.classifier.learning_rate,
            "precision": self.precision,
            "steps": self.steps,
        }

    def _classifier(self, max_steps: int | None = None) -> Any:
        settings = self.settings
        return ws.TextClassifier(
            self.backbone,
            strategy=STRATEGIES[settings.strategy](),
            learning_rate=settings.learning_rate,
            optimizer=ws.AdamW(weight_decay=0.0, warmup_ratio=0.0),
            epochs=settings.epochs,
            max_steps=max_steps,
            batch_tokens="auto",
            max_length=settings.max_length,
            precision=self.precision,
            random_state=settings.seed,
            verbose=False,
        )
