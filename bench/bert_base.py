"""A BERT of 12 layers, width 768, as a directory that both sides open: random weights, MiniLM's tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.assets import fetch_assets
from bench.step_model import SHAPES


def bert_base_directory() -> Path:
    """Make it, once.

    Raises
    ------
    ImportError
        It is not there yet, and this environment has no warmstart to make it with: run our side first.
    """
    assets = fetch_assets()
    target = assets.model.parent / "bert-12x768"
    if not target.exists():
        import warmstart as ws

        vocabulary = json.loads((assets.model / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        config = SHAPES["12x768"].config() | {"vocab_size": vocabulary}
        staged = target.with_name(f".{target.name}")
        shutil.rmtree(staged, ignore_errors=True)
        ws.Backbone.from_config(config, assets.model, random_state=0).save_pretrained(staged)
        staged.rename(target)
    return target
