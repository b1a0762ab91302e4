"""What is equal on every side of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

SIDES = ("warmstart", "trainer", "trainer-length-grouped")


@dataclass(frozen=True)
class Settings:
    """AdamW, linear schedule to zero without warm-up, no weight decay, float32, dropout as the model's config says.

    Attributes
    ----------
    batch_size
        Documents per step. warmstart sizes its batches in tokens: ``batch_size`` times the mean length.
    max_length
        Tokens after which a document is cut, special tokens included.
    seed
        Of the head's initial weights, dropout and the order of documents.
    """

    batch_size: int = 32
    max_length: int = 256
    learning_rate: float = 5e-5
    epochs: int = 1
    seed: int = 0
