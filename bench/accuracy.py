"""Test accuracy after fine-tuning on the full R8 training set, one side and one seed; prints one JSON line.

Run from the repository's root: ``python -m bench.accuracy --side warmstart --seed 0``. Takes minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.assets import fetch_assets
from bench.data import Documents, read_r8
from bench.finetune_side import make_side
from bench.machine import core_count, peak_rss_mb
from bench.metrics import accuracy, macro_f1
from bench.settings import VARIANTS, Settings


def evaluate(side_name: str, model_dir: Path, train: Documents, test: Documents, settings: Settings) -> dict[str, Any]:
    """Fine-tune on ``train``, score on ``test``. No document of ``test`` is seen before the last step is done."""
    with tempfile.TemporaryDirectory() as scratch:
        side = make_side(side_name, model_dir, settings, Path(scratch))
        side.prepare(train)
        train_s = side.train()
        started = time.perf_counter()
        predicted = side.predict(test.texts)
        return {
            "side": side_name,
            "accuracy": accuracy(test.labels, predicted),
            "macro_f1": macro_f1(test.labels, predicted),
            "seconds": train_s,
            "predict_s": time.perf_counter() - started,
            "peak_rss_mb": peak_rss_mb(),
            "cores": core_count(),
            "settings": asdict(settings) | {"train_rows": len(train), "test_rows": len(test)},
            "versions": side.versions(),
            "threads": side.threads(),
            "details": side.details(),
        }


def main() -> None:
    """Parse the command line, evaluate, print."""
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=VARIANTS, required=True)
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--limit", type=int, default=defaults.max_length, help="tokens a document (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="default: %(default)s")
    parser.add_argument("--train-rows", type=int, help="a seeded sample, to try the script out (default: all)")
    parser.add_argument("--test-rows", type=int, help="a seeded sample, to try the script out (default: all)")
    options = parser.parse_args()
    settings = Settings(options.batch_size, options.limit, options.learning_rate, options.epochs, options.seed)
    assets = fetch_assets()
    train = read_r8(assets.r8, "train").sample(options.train_rows, seed=0)
    test = read_r8(assets.r8, "test").sample(options.test_rows, seed=0)
    print(json.dumps(evaluate(options.side, assets.model, train, test, settings)), flush=True)


if __name__ == "__main__":
    main()
