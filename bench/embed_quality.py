"""Worker: what low precision costs our features, against our own f32, and print one JSON line.

Run from the repository's root: ``python -m bench.embed_quality --precision int8``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from bench.assets import fetch_assets
from bench.data import Documents, read_r8
from bench.embed import MAX_LENGTH
from bench.embed_warmstart import WarmstartEmbedder
from bench.machine import versions
from bench.worker import Result, emit


def quality(model_dir: Path, precision: str, train: Documents, test: Documents) -> Result:
    """Cosines of each document's two vectors, and the accuracy of a support vector machine on either kind."""
    low = WarmstartEmbedder(model_dir, precision, MAX_LENGTH)
    low_train, low_test = low.embed(train.texts), low.embed(test.texts)
    f32 = WarmstartEmbedder(model_dir, "f32", MAX_LENGTH)
    f32_train, f32_test = f32.embed(train.texts), f32.embed(test.texts)
    cosine = cosines(np.concatenate([low_train, low_test]), np.concatenate([f32_train, f32_test]))
    accuracy = 100 * float(SVC(C=10).fit(low_train, train.labels).score(low_test, test.labels))
    reference = 100 * float(SVC(C=10).fit(f32_train, train.labels).score(f32_test, test.labels))
    return Result(
        measures={
            "cosine_min": float(cosine.min()),
            "cosine_mean": float(cosine.mean()),
            "accuracy": accuracy,
            "accuracy_f32": reference,
            "accuracy_lost": reference - accuracy,
        },
        settings={"max_length": MAX_LENGTH, "train_rows": len(train), "test_rows": len(test)},
        versions=versions("warmstart", "numpy", "scikit-learn"),
        threads=low.threads(),
    )


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row by row of two ``[N, D]``: ``[N]``."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.einsum("nd,nd->n", a, b) / norms, dtype=np.float32)


def main() -> None:
    """Parse the command line, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=("f32", "bf16", "int8"), required=True)
    parser.add_argument("--train-rows", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--test-rows", type=int, help="default: all 2189")
    options = parser.parse_args()
    assets = fetch_assets()
    train = read_r8(assets.r8, "train").sample(options.train_rows, seed=0)
    test = read_r8(assets.r8, "test").sample(options.test_rows, seed=0)
    emit(lambda: quality(assets.model, options.precision, train, test))


if __name__ == "__main__":
    main()
