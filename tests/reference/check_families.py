"""Check that transformers computes what warmstart does for directories that warmstart saved, of any family.

Run by hand in the environment of make_reference.py:

    python tests/reference/check_families.py DIR...

Each DIR was written by `clf.save(dir)` or `backbone.save_pretrained(dir)` and also holds `expected.json`:
{"texts": [...], "logits": [...]}, the texts (or [first, second] pairs) and the logits warmstart gave for each; for a
backbone "last_hidden_state", a [tokens, D] matrix for each. Instead of "texts" it may hold "ids" and, for models that
have them, "segments": lists of integers for each sequence, so that no tokenizer is needed. Optionally "max_length", the
limit in tokens if that is below the model's.

The Auto class that fits `architectures` in config.json loads the model; the sequences run one by one. Prints the
largest difference of each directory; exits with 1 if one exceeds 1e-4 of the largest expected value (at least of 1) or
is not a number, if a tensor is missing or unexpected, or if the loaded class is not the one of `architectures`. Of a
backbone the pooler may be missing: RobertaModel makes one, which no classifier or language model of its family has.
"""

import json
import os
import re
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # the directory alone must do

import torch
import transformers
from transformers import AutoTokenizer

TOLERANCE = 1e-4


def load(folder):
    """The model, and what is wrong with it."""
    [architecture] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    task = re.search("For[A-Z].*|LMHeadModel$|$", architecture)[0].replace("LMHeadModel", "ForCausalLM")
    model, info = getattr(transformers, f"AutoModel{task}").from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    if not task:
        info["missing_keys"] = {name for name in info["missing_keys"] if not name.startswith("pooler.")}
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    problems = [f"{kind}: {sorted(info[kind])}" for kind in kinds if info[kind]]
    if type(model).__name__ != architecture:
        problems.append(f"transformers loads {type(model).__name__} for {architecture}")
    return model.eval(), problems


def inputs_of(expected, folder, config):
    """What the model is called with, for each sequence."""
    if "ids" in expected:
        named = {"input_ids": expected["ids"]}
        if "segments" in expected:
            named["token_type_ids"] = expected["segments"]
        rows = zip(*named.values(), strict=True)
        return [dict(zip(named, (torch.tensor([part]) for part in row), strict=True)) for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # XLNet has no table of positions and says -1.
    table = getattr(config, "max_position_embeddings", -1)
    limit = min(tokenizer.model_max_length, table if table > 0 else sys.maxsize)
    options = {"truncation": True, "max_length": expected.get("max_length", limit), "return_tensors": "pt"}
    pairs = [(text, None) if isinstance(text, str) else text for text in expected["texts"]]
    # As batches of one: the call on single strings takes an empty second text for none.
    return [tokenizer([first], None if second is None else [second], **options) for first, second in pairs]


def check(folder):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    key = "logits" if "logits" in expected else "last_hidden_state"
    model, problems = load(folder)
    inputs = inputs_of(expected, folder, model.config)
    difference = scale = 0.0
    for i, (row, wanted) in enumerate(zip(inputs, map(torch.tensor, expected[key]), strict=True)):
        with torch.inference_mode():
            actual = model(**row)[key][0]
        if actual.shape != wanted.shape:
            problems.append(f"{key} {i}: transformers gives {list(actual.shape)}, expected {list(wanted.shape)}")
            continue
        # `torch.maximum` keeps what is not a number, `max` may not.
        difference = torch.maximum(torch.tensor(difference), (actual - wanted).abs().max()).item()
        scale = max(scale, wanted.abs().max().item())
    print(f"{folder}: {type(model).__name__}, {len(inputs)} sequences")
    print(f"  max difference of {key}: {difference:.3e}, values up to {scale:.3g}")
    for problem in problems:
        print(f"  {problem}")
    return difference <= TOLERANCE * max(scale, 1.0) and bool(inputs) and not problems  # False for NaN


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sys.exit(0 if all([check(Path(folder)) for folder in sys.argv[1:]]) else 1)
