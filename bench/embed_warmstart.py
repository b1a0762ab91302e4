"""Our side of embedding: ``FeatureExtractor``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import warmstart as ws
from numpy.typing import NDArray
from warmstart._core import get_num_threads

from bench.machine import versions


class WarmstartEmbedder:
    """Mean pooling of the last layer; packs batches of the library's default size."""

    def __init__(self, model_dir: Path, precision: str, max_length: int) -> None:
        self.backbone = ws.Backbone.from_pretrained(model_dir)
        self.max_length = max_length
        self.extractor = ws.FeatureExtractor(
            self.backbone, pooling="mean", max_length=max_length, precision=precision, verbose=False
        )

    def n_tokens(self, texts: list[str]) -> int:
        """Real tokens, special ones included."""
        return int(self.backbone._inner.encode(texts, None, self.max_length).n_tokens)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors ``[N, D]``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that texts are cut is meant
            return np.asarray(self.extractor.transform(texts))

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("warmstart", "numpy")

    def threads(self) -> int:
        """As the library chose."""
        return int(get_num_threads())

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {"batch_tokens": self.extractor.batch_tokens}
