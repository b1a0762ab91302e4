"""The peer of embedding in f32 and bf16: sentence-transformers."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from bench.machine import versions

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
BATCH_SIZES = (4, 8, 16, 32, 64, 128)  # texts


class SentenceTransformersEmbedder:
    """``encode`` with its own sorting by length; the directory's normalising module is left out.

    Attributes
    ----------
    batch_size
        Texts; the library's default until :meth:`tune`.
    """

    batch_size = 32

    def __init__(self, model_dir: Path, precision: str, max_length: int) -> None:
        whole = SentenceTransformer(str(model_dir), device="cpu", model_kwargs={"dtype": DTYPES[precision]})
        self.model = SentenceTransformer(modules=[whole[0], whole[1]], device="cpu")
        self.model.max_seq_length = max_length

    def n_tokens(self, texts: list[str]) -> int:
        """Real tokens, special ones included."""
        encoded = self.model.tokenizer(texts, truncation=True, max_length=self.model.max_seq_length)
        return sum(map(len, encoded["input_ids"]))

    def tune(self, texts: list[str]) -> None:
        """Keep the batch size that embeds ``texts`` fastest."""
        seconds = {}
        for self.batch_size in BATCH_SIZES:
            started = time.perf_counter()
            self.embed(texts)
            seconds[self.batch_size] = time.perf_counter() - started
        self.batch_size = min(seconds, key=lambda size: seconds[size])

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors ``[N, D]``."""
        vectors = self.model.encode(
            texts, batch_size=self.batch_size, show_progress_bar=False, normalize_embeddings=False
        )
        return np.asarray(vectors, dtype=np.float32)

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("torch", "transformers", "sentence-transformers")

    def threads(self) -> int:
        """As the library chose."""
        return int(torch.get_num_threads())

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {"batch_size": self.batch_size, "dtype": str(self.model.dtype)}
