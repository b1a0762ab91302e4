"""What a worker asks of a side, and which side a name stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from bench.data import Documents
from bench.settings import Settings


class Side(Protocol):
    """One way of fine-tuning the same model on the same documents; called in the order of the methods here.

    Attributes
    ----------
    n_tokens
        Real tokens trained on, over all epochs; known after ``train``.
    """

    n_tokens: int

    def prepare(self, train: Documents) -> None: ...
    def warm_up(self) -> None: ...
    def train(self) -> float: ...
    def predict(self, texts: list[str]) -> list[str]: ...
    def facts(self) -> dict[str, Any]: ...


def make_side(name: str, model_dir: Path, settings: Settings, scratch: Path) -> Side:
    """Import a side's libraries, and only those, and make it."""
    if name == "warmstart":
        from bench.warmstart_side import WarmstartSide

        return WarmstartSide(model_dir, settings)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # every file is here already
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from bench.trainer_side import TrainerSide

    return TrainerSide(model_dir, settings, group_by_length=name == "trainer-length-grouped", scratch=scratch)
