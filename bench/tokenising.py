"""Worker: tokenise Reuters R8 with MiniLM's tokenizer on one side; print one JSON line.

Run from the repository's root: ``python -m bench.tokenising --side tokenizers``.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench.assets import fetch_assets
from bench.data import read_r8
from bench.machine import versions
from bench.worker import Result, emit

CALLS = 5
MAX_LENGTH = 256  # tokens
Encode = Callable[[list[str]], int]


def warmstart_side(model: Path) -> Encode:
    """What every estimator does first: ids, segments and offsets, kept in the core."""
    import warmstart as ws
    from warmstart.texts import encode

    backbone = ws.Backbone.from_pretrained(model)._inner
    return lambda texts: encode(backbone, texts, MAX_LENGTH).n_tokens


def tokenizers_side(model: Path) -> Encode:
    """``encode_batch``, with offsets."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    return lambda texts: sum(map(len, tokenizer.encode_batch(texts)))


def tokenising(side: str, rows: int | None) -> Result:
    """Median over calls, after one to warm up."""
    assets = fetch_assets()
    texts = read_r8(assets.r8, "train").sample(rows, 0).texts
    encode = (warmstart_side if side == "warmstart" else tokenizers_side)(assets.model)
    seconds, n_tokens = [], encode(texts)
    for _ in range(CALLS):
        started = time.perf_counter()
        n_tokens = encode(texts)
        seconds.append(time.perf_counter() - started)
    return Result(
        measures={"tokens_per_s": n_tokens / statistics.median(seconds)},
        equal={"texts": len(texts), "tokens": n_tokens},
        settings={"max_length": MAX_LENGTH, "calls": CALLS},
        versions=versions(side),
    )


def main() -> None:
    """Parse the command line, tokenise, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=("warmstart", "tokenizers"), required=True)
    parser.add_argument("--rows", type=int, help="default: all")
    options = parser.parse_args()
    emit(lambda: tokenising(options.side, options.rows))


if __name__ == "__main__":
    main()
