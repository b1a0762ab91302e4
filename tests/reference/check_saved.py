"""Check that transformers gives warmstart's figures for directories that `clf.save` or `save_pretrained` wrote.

Run by hand in the environment of make_reference.py:

    python tests/reference/check_saved.py DIR...

A DIR also holds `expected.json`: the texts (or [first, second] pairs) under "texts", and of a classifier "logits", what
its decision_function gave, of a backbone or a detector of replaced tokens "hidden", the mean of each text's last
hidden states, of a language model "filled", the probability of each token of the vocabulary in the place of a text's
only mask; optionally "max_length", its limit in tokens if that is below the model's. (`WARMSTART_SAVED=FOLDER pytest
test_families.py test_language_model.py`, of tests/python, writes such directories.) Prints the largest absolute
difference; exits with 1 if one exceeds 1e-4 or is not a number, or if a tensor is missing or unexpected.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # the directory alone must do

import torch
import transformers
from transformers import PreTrainedTokenizerFast

TOLERANCE = 1e-4


def outputs_of(model, tokenizer, texts, expected):
    """One text at a time: nothing is padded."""
    segments = getattr(model.config, "type_vocab_size", 0) or model.config.model_type == "xlnet"
    known = {"input_ids"} | ({"token_type_ids"} if segments else set())
    positions = getattr(model.config, "max_position_embeddings", -1)
    limit = min([tokenizer.model_max_length, sys.maxsize] + [positions] * (positions > 0))
    for text in texts:
        pair = [text] if isinstance(text, str) else list(text)
        encoding = tokenizer(*pair, truncation=True, max_length=expected.get("max_length", limit), return_tensors="pt")
        with torch.inference_mode():
            inputs = {name: encoding[name] for name in known & set(encoding)}
            output = model(**inputs, output_hidden_states=True)
        if "logits" in expected:
            yield output.logits[0]
        elif "filled" in expected:
            yield output.logits[encoding["input_ids"] == tokenizer.convert_tokens_to_ids("[MASK]")].softmax(dim=-1)[0]
        else:
            yield output.hidden_states[-1][0].mean(dim=0)


def check(folder):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    architecture = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    # AutoTokenizer makes a Qwen2Tokenizer of whatever tokenizer lies beside a Qwen2.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model, info = getattr(transformers, architecture).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    # A pooler that the model never had is the own of transformers; beside the head of a language model it lies unused.
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    unexpected = [name for name in info["unexpected_keys"] if ".pooler." not in name or "filled" not in expected]
    for kind, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            print(f"{kind}: {sorted(names)}")
    actual = torch.stack(list(outputs_of(model.eval(), tokenizer, expected["texts"], expected)))
    wanted = torch.tensor(next(expected[kind] for kind in ("logits", "filled", "hidden") if kind in expected))
    # A binary classifier's decision_function is the difference of its two logits.
    if wanted.dim() == 1:
        actual = actual[:, 1] - actual[:, 0]
    if actual.shape != wanted.shape:
        print(f"{folder}: transformers gives shape {list(actual.shape)}, expected.json has {list(wanted.shape)}")
        return False
    difference = (actual - wanted).abs().max().item()
    print(f"{architecture}: {len(expected['texts'])} texts, max abs difference {difference:.2e} ({folder})")
    return difference <= TOLERANCE and not missing and not unexpected  # False for NaN


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    sys.exit(0 if all([check(Path(folder)) for folder in sys.argv[1:]]) else 1)
