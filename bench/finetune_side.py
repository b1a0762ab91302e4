"""What a worker asks of a side, and which side a name stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from bench.data import Documents
from bench.environment import quiet_and_offline
from bench.settings import VARIANTS, Settings


class Side(Protocol):
    """One way of fine-tuning the same model on the same documents; called in the order of the methods here.

    Attributes
    ----------
    n_tokens
        Real tokens trained on, over all epochs; known after ``train``.
    n_trainable
        Weights that training changes; known after ``train``.
    epoch_s
        Seconds of the training loop alone, a part of those of ``train``; known after it.
    """

    n_tokens: int
    n_trainable: int
    epoch_s: float

    def prepare(self, train: Documents) -> None: ...
    def warm_up(self) -> None: ...
    def train(self) -> float: ...
    def predict(self, texts: list[str]) -> list[str]: ...
    def versions(self) -> dict[str, str]: ...
    def threads(self) -> int: ...
    def details(self) -> dict[str, Any]: ...


def make_side(name: str, model_dir: Path, settings: Settings, scratch: Path) -> Side:
    """Import a side's libraries, and only those, and make it."""
    variant = VARIANTS[name]
    if variant.library == "warmstart":
        from bench.finetune_warmstart import WarmstartSide

        return WarmstartSide(model_dir, settings, variant.precision)
    quiet_and_offline()
    from bench.finetune_trainer import TrainerSide

    return TrainerSide(model_dir, settings, variant, scratch)
