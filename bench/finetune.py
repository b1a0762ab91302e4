"""Worker: fine-tune once on one side, in a process of its own, and print one JSON line.

Run from the repository's root: ``python -m bench.finetune --side trainer``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.assets import fetch_assets
from bench.data import Documents, read_r8
from bench.machine import core_count, peak_rss_mb
from bench.settings import SIDES, Settings
from bench.side import make_side


def finetune(side_name: str, model_dir: Path, documents: Documents, settings: Settings) -> dict[str, Any]:
    """Time one training run after a warm-up step.

    Returns
    -------
    dict
        ``tokens`` are real ones, padding not counted, special ones counted; ``peak_rss_mb`` is the whole process's
        highest resident set, libraries and warm-up included.
    """
    with tempfile.TemporaryDirectory() as scratch:
        side = make_side(side_name, model_dir, settings, Path(scratch))
        side.prepare(documents)
        side.warm_up()
        seconds = side.train()
        return {
            "side": side_name,
            "tokens": side.n_tokens,
            "seconds": seconds,
            "tokens_per_s": side.n_tokens / seconds,
            "peak_rss_mb": peak_rss_mb(),
            "cores": core_count(),
            "settings": asdict(settings) | {"rows": len(documents)},
            **side.facts(),
        }


def main() -> None:
    """Parse the command line, fine-tune, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--rows", type=int, default=512, help="training documents (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the training run (default: %(default)s)")
    parser.add_argument("--slice-seed", type=int, default=0, help="of the choice of documents (default: %(default)s)")
    options = parser.parse_args()
    assets = fetch_assets()
    documents = read_r8(assets.r8, "train").sample(options.rows, options.slice_seed)
    result = finetune(options.side, assets.model, documents, Settings(seed=options.seed))
    result["settings"]["slice_seed"] = options.slice_seed
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
