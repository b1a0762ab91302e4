"""Check that transformers gives the logits of warmstart for a directory that `clf.save(dir)` wrote.

Run by hand in the environment of make_reference.py:

    python tests/reference/check_saved.py DIR

DIR also holds `expected.json`: {"texts": [...], "logits": [[...], ...]}, the texts (or [first, second] pairs) and the
logits warmstart gave for them; optionally "max_length", its limit in tokens if that is below the model's. Prints the
largest absolute difference; exits with 1 if it exceeds 1e-4 or is not a number, or if a tensor is missing or
unexpected.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # the directory alone must do

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TOLERANCE = 1e-4


def logits_of(model, tokenizer, texts, max_length):
    first, second = zip(*((text, None) if isinstance(text, str) else text for text in texts), strict=True)
    second = None if all(text is None for text in second) else list(second)
    encoding = tokenizer(list(first), second, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.inference_mode():
        return model.eval()(**encoding).logits.float()


def check(folder):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    problems = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys") if info[kind]}
    for kind, names in problems.items():
        print(f"{kind}: {names}")
    limit = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    actual = logits_of(model, tokenizer, expected["texts"], expected.get("max_length", limit))
    wanted = torch.tensor(expected["logits"])
    if actual.shape != wanted.shape:
        print(f"logits: transformers gives shape {list(actual.shape)}, expected.json has {list(wanted.shape)}")
        return False
    difference = (actual - wanted).abs().max().item()
    print(f"{len(expected['texts'])} texts, labels {list(model.config.id2label.values())}")
    print(f"max abs difference of logits: {difference:.3e} (tolerance {TOLERANCE:.0e})")
    return difference <= TOLERANCE and not problems  # False for NaN


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(0 if check(Path(sys.argv[1])) else 1)
