"""The peer of embedding in int8: ONNX Runtime on the exported model."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bench.machine import core_count, versions
from bench.onnx_export import exported


class OnnxRuntimeEmbedder:
    """Sorted by length, batches of 32 texts padded to their longest, mean pooling in NumPy."""

    batch_size = 32

    def __init__(self, model_dir: Path, precision: str, max_length: int) -> None:
        self.tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = core_count()  # what it takes by itself, but then it does not tell
        path = exported(model_dir, precision)
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def n_tokens(self, texts: list[str]) -> int:
        """Real tokens, special ones included."""
        return sum(len(encoding.ids) for encoding in self.tokenizer.encode_batch(texts))

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors ``[N, D]``."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        parts = [
            self._pooled([ids[row] for row in order[start : start + self.batch_size]])
            for start in range(0, len(order), self.batch_size)
        ]
        vectors = np.concatenate(parts)
        in_input_order = np.empty_like(vectors)
        in_input_order[order] = vectors
        return in_input_order

    def _pooled(self, rows: list[list[int]]) -> NDArray[np.float32]:
        """Mean over the real tokens of B rows, longest first: ``[B, D]``."""
        padded = np.zeros((len(rows), len(rows[0])), dtype=np.int64)
        mask = np.zeros_like(padded)
        for row, ids in enumerate(rows):
            padded[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        (hidden,) = self.session.run(None, {"input_ids": padded, "attention_mask": mask})  # [B, T, D]
        weights = mask.astype(np.float32)
        pooled = (weights[:, None, :] @ hidden)[:, 0] / weights.sum(axis=1, keepdims=True)
        return np.asarray(pooled, dtype=np.float32)

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("onnxruntime", "tokenizers", "numpy")

    def threads(self) -> int:
        """As set."""
        return int(self.session.get_session_options().intra_op_num_threads)

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {"batch_size": self.batch_size}
