"""Worker: train a classifier once on one side, in a process of its own, and print one JSON line.

Run from the repository's root: ``python -m bench.finetune --side trainer``, with ``--strategy lora`` for an adapter.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.assets import fetch_assets
from bench.bert_base import bert_base_directory
from bench.data import Documents, read_r8
from bench.finetune_side import make_side
from bench.machine import peak_rss_mb
from bench.metrics import accuracy
from bench.settings import STRATEGIES, VARIANTS, Settings
from bench.worker import Result, emit


def finetune(side_name: str, model_dir: Path, train: Documents, test: Documents | None, settings: Settings) -> Result:
    """Time one training run after a warm-up step.

    Returns
    -------
    Result
        Tokens are real ones, padding not counted, special ones counted; ``peak_rss_mb`` is the whole process's highest
        resident set when training ended, libraries and warm-up included; ``accuracy`` is on ``test``, after the clock.
    """
    with tempfile.TemporaryDirectory() as scratch:
        side = make_side(side_name, model_dir, settings, Path(scratch))
        side.prepare(train)
        side.warm_up()
        seconds = side.train()
        measures = {
            "seconds": seconds,
            "epoch_s": side.epoch_s,
            "tokens_per_s": side.n_tokens / seconds,
            "peak_rss_mb": peak_rss_mb(),
        }
        if test is not None:
            measures["accuracy"] = accuracy(test.labels, side.predict(test.texts))
        return Result(
            measures=measures,
            equal={"real tokens": side.n_tokens, "trainable weights": side.n_trainable},
            settings=asdict(settings) | {"rows": len(train)},
            versions=side.versions(),
            threads=side.threads(),
            details=side.details(),
        )


def without_modules(model: Path, folder: Path) -> Path:
    """Put links to a sentence encoder's files in a folder, as a plain model: the head is then that of transformers."""
    for file in model.iterdir():
        if file.is_file() and file.name != "modules.json":
            (folder / file.name).symlink_to(file.absolute())
    return folder


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=VARIANTS, required=True)
    parser.add_argument("--strategy", choices=STRATEGIES, default="full", help="what is trained (default: %(default)s)")
    parser.add_argument("--base", action="store_true", help="a BERT of 12 layers, width 768, in place of MiniLM")
    parser.add_argument("--rows", type=int, default=512, help="training documents (default: %(default)s)")
    parser.add_argument("--test-rows", type=int, help="also report the accuracy on so many test documents")
    options = parser.parse_args()
    assets = fetch_assets()
    train = read_r8(assets.r8, "train").sample(options.rows, seed=0)
    test = None if options.test_rows is None else read_r8(assets.r8, "test").sample(options.test_rows, seed=0)
    settings = STRATEGIES[options.strategy]
    with tempfile.TemporaryDirectory() as folder:
        model = bert_base_directory() if options.base else without_modules(assets.model, Path(folder))
        emit(lambda: finetune(options.side, model, train, test, settings))


if __name__ == "__main__":
    main()
