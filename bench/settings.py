"""What is equal on every side of a fine-tuning comparison, and the sides there are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """AdamW, linear schedule to zero without warm-up, no weight decay, dropout as the model's config says.

    Attributes
    ----------
    batch_size
        Documents per step. warmstart sizes its batches in tokens: ``batch_size`` times the mean length.
    max_length
        Tokens after which a document is cut, special tokens included.
    seed
        Of the head's initial weights, dropout and the order of documents.
    strategy
        What is trained: "full", every layer; "probing", the classifier alone; "lora", it and matrices of rank 8
        beside all linear maps of the layers, at a scale of 2.
    """

    batch_size: int = 32
    max_length: int = 256
    learning_rate: float = 5e-5
    epochs: int = 1
    seed: int = 0
    strategy: str = "full"


PROBING = Settings(learning_rate=1e-2, epochs=5, strategy="probing")
LORA = Settings(learning_rate=2e-3, strategy="lora")

STRATEGIES = {"full": Settings(), "probing": PROBING, "lora": LORA}


@dataclass(frozen=True)
class Variant:
    """What tells the sides of one library apart.

    Attributes
    ----------
    precision
        As the library calls it.
    group_by_length
        Of the Trainer: batches of documents of similar length. warmstart packs and needs no such choice.
    """

    library: str
    precision: str
    group_by_length: bool = False


VARIANTS = {
    "warmstart": Variant("warmstart", "auto"),
    "warmstart-f32": Variant("warmstart", "f32"),
    "trainer": Variant("trainer", "f32"),
    "trainer-length-grouped": Variant("trainer", "f32", group_by_length=True),
    "trainer-length-grouped-bf16": Variant("trainer", "bf16", group_by_length=True),
}
