"""Worker: embed Reuters R8 documents on one side, and print one JSON line.

Run from the repository's root: ``python -m bench.embed --side sentence-transformers --precision bf16``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.assets import fetch_assets
from bench.data import read_r8
from bench.environment import quiet_and_offline
from bench.machine import peak_rss_mb
from bench.worker import Result, emit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDES = ("warmstart", "sentence-transformers", "sentence-transformers-tuned", "onnxruntime")
MAX_LENGTH = 256  # tokens
FEW = 128  # texts to warm up on, and to choose a batch size by


class Embedder(Protocol):
    """N texts to vectors ``[N, D]``, mean-pooled and not normalised."""

    def n_tokens(self, texts: list[str]) -> int: ...
    def embed(self, texts: list[str]) -> NDArray[np.float32]: ...
    def versions(self) -> dict[str, str]: ...
    def threads(self) -> int: ...
    def details(self) -> dict[str, Any]: ...


def make_embedder(side: str, model_dir: Path, precision: str, few: list[str]) -> Embedder:
    """Import a side's libraries, and only those, and make it; ``few`` texts choose the batch size of a tuned side."""
    if side == "warmstart":
        from bench.embed_warmstart import WarmstartEmbedder

        return WarmstartEmbedder(model_dir, precision, MAX_LENGTH)
    quiet_and_offline()
    if side == "onnxruntime":
        from bench.embed_onnxruntime import OnnxRuntimeEmbedder

        return OnnxRuntimeEmbedder(model_dir, precision, MAX_LENGTH)
    from bench.embed_sentence_transformers import SentenceTransformersEmbedder

    embedder = SentenceTransformersEmbedder(model_dir, precision, MAX_LENGTH)
    if side.endswith("-tuned"):
        embedder.embed(few)  # so that no batch size pays for the first call
        embedder.tune(few)
    return embedder


def embed(side: str, model_dir: Path, precision: str, texts: list[str]) -> Result:
    """Time one pass over the texts, tokenising included, after a warm-up on a few of them."""
    few = texts[:FEW]
    embedder = make_embedder(side, model_dir, precision, few)
    embedder.embed(few)
    started = time.perf_counter()
    vectors = embedder.embed(texts)
    seconds = time.perf_counter() - started
    peak = peak_rss_mb()
    n_tokens = embedder.n_tokens(texts)
    norm = float((vectors**2).sum(axis=1).mean() ** 0.5)  # shows that all sides compute the same
    return Result(
        measures={"tokens_per_s": n_tokens / seconds, "peak_rss_mb": peak},
        equal={"real tokens": n_tokens, "shape": f"{vectors.shape[0]}x{vectors.shape[1]}"},
        settings={"max_length": MAX_LENGTH},
        versions=embedder.versions(),
        threads=embedder.threads(),
        details=embedder.details() | {"root mean square norm": round(norm, 3)},
    )


def main() -> None:
    """Parse the command line, embed, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--precision", choices=("f32", "bf16", "int8"), required=True)
    parser.add_argument("--rows", type=int, default=1024, help="documents (default: %(default)s)")
    options = parser.parse_args()
    assets = fetch_assets()
    texts = read_r8(assets.r8, "train").sample(options.rows, seed=0).texts
    emit(lambda: embed(options.side, assets.model, options.precision, texts))


if __name__ == "__main__":
    main()
