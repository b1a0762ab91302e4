"""Check that transformers gives warmstart's figures for directories that `clf.save` or `save_pretrained` wrote.

`make check-transformers` makes an environment for it, saves models of every family and head, and runs it:

    python tests/reference/check_saved.py FOLDER...

Every directory in a FOLDER that holds `expected.json` is checked. That has the texts (or [first, second] pairs) under
"texts", optionally "max_length", its limit in tokens if that is below the model's, and what warmstart makes of each
text:

- "logits" of a classifier, what its decision_function gave;
- "hidden" of a backbone, the mean of the last hidden states;
- "tags" of a token classifier, the logits of each word; every word must be one token;
- "scores" of a language model, the logarithm of each token's probability, null where there is none;
- "batch" of a classifier, texts that are padded to one batch, whose logits are those of "logits";
- "losses" of a detector of replaced tokens, each [ids, whether each is replaced, loss], instead of texts.

`WARMSTART_SAVED=FOLDER pytest tests/python/test_families.py tests/python/test_regressor.py` and
`WARMSTART_SAVED=FOLDER cargo test detector` write such directories for each model type and head.
Prints the largest absolute difference; exits with 1 if one exceeds 1e-4 or is not a number, if a tensor is missing or
unexpected, or if there is nothing to check.
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
SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "mask")}


def encode(model, tokenizer, text, expected):
    segments = getattr(model.config, "type_vocab_size", 0) or model.config.model_type == "xlnet"
    known = {"input_ids"} | ({"token_type_ids"} if segments else set())
    positions = getattr(model.config, "max_position_embeddings", -1)
    limit = min([tokenizer.model_max_length, sys.maxsize] + [positions] * (positions > 0))
    pair = [text] if isinstance(text, str) else list(text)
    encoding = tokenizer(*pair, truncation=True, max_length=expected.get("max_length", limit), return_tensors="pt")
    special = tokenizer.get_special_tokens_mask(encoding["input_ids"][0].tolist(), already_has_special_tokens=True)
    return {name: encoding[name] for name in known & set(encoding)}, torch.tensor(special) == 1


def token_scores(model, tokenizer, inputs, wanted):
    """Log probabilities of the tokens that have one: from those before, from a mask, or by permutation."""
    ids = inputs["input_ids"]
    scores = torch.zeros(ids.shape[1])
    asked = [i for i, score in enumerate(wanted) if score is not None]
    if type(model).__name__.endswith(("CausalLM", "LMHeadModel")) and model.config.model_type != "xlnet":
        logits = model(**inputs).logits[0].log_softmax(-1)
        return torch.stack([logits[i - 1, ids[0, i]] for i in asked])
    for i in asked:
        if model.config.model_type == "xlnet":
            hidden, target = torch.zeros(1, ids.shape[1], ids.shape[1]), torch.zeros(1, 1, ids.shape[1])
            hidden[:, :, i], target[:, :, i] = 1, 1
            logits = model(**inputs, perm_mask=hidden, target_mapping=target).logits[0, 0]
        else:
            masked = ids.clone()
            masked[0, i] = tokenizer.mask_token_id
            logits = model(**inputs | {"input_ids": masked}).logits[0, i]
        scores[i] = logits.log_softmax(-1)[ids[0, i]]
    return scores[asked]


def differences(model, tokenizer, expected):
    """One text at a time: nothing is padded, but a batch that is there to be."""
    for ids, replaced, loss in expected.get("losses", []):
        output = model(input_ids=torch.tensor([ids]), labels=torch.tensor([replaced]))
        yield output.loss - loss
    if "batch" in expected:
        inputs = tokenizer(expected["batch"], padding=True, return_tensors="pt", return_token_type_ids=False)
        yield model(**inputs).logits - torch.tensor(expected["logits"])
    for i, text in enumerate(expected.get("texts", [])):
        inputs, special = encode(model, tokenizer, text, expected)
        if "scores" in expected:
            wanted = expected["scores"][i]
            said = torch.tensor([score for score in wanted if score is not None])
            yield token_scores(model, tokenizer, inputs, wanted) - said
            continue
        output = model(**inputs)
        if "logits" in expected:
            wanted, actual = torch.tensor(expected["logits"][i]), output.logits[0]
            # A binary classifier's decision_function is the difference of its two logits.
            actual = actual[1] - actual[0] if wanted.dim() == 0 else actual
        elif "tags" in expected:
            wanted, actual = torch.tensor(expected["tags"][i]), output.logits[0][~special]
        else:
            wanted, actual = torch.tensor(expected["hidden"][i]), output.last_hidden_state[0].mean(dim=0)
        if actual.shape != wanted.shape:
            raise SystemExit(f"{text!r}: transformers gives {list(actual.shape)}, expected.json {list(wanted.shape)}")
        yield actual - wanted


def check(folder):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    architecture = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    # AutoTokenizer makes a Qwen2Tokenizer of whatever tokenizer lies beside a Qwen2.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    # The class that a directory names would have known these.
    known = {name: token for name, token in SPECIAL.items() if token in tokenizer.get_vocab()}
    tokenizer.add_special_tokens({name: token for name, token in known.items() if getattr(tokenizer, name) is None})
    model, info = getattr(transformers, architecture).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    # A pooler that the model never had, and that its task does not use, is transformers' own.
    # One that the backbone has and this head does not use is left out there.
    names = {
        kind: [name for name in info[f"{kind}_keys"] if "pooler." not in name] for kind in ("missing", "unexpected")
    }
    for kind, wrong in names.items():
        if wrong:
            print(f"{kind}: {sorted(wrong)}")
    with torch.inference_mode():
        found = [d.abs().max().item() for d in differences(model.eval(), tokenizer, expected) if d.numel()]
    difference = max(found) if all(d == d for d in found) else float("nan")
    print(f"{architecture}: {len(found)} texts, max abs difference {difference:.2e} ({folder})")
    return difference <= TOLERANCE and not any(names.values())  # False for NaN


def main(folders):
    saved = sorted(file.parent for folder in folders for file in Path(folder).rglob("expected.json"))
    if not saved:
        sys.exit(f"no expected.json in {', '.join(folders)}: nothing to check")
    wrong = [str(folder) for folder in saved if not check(folder)]
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(f"{versions}: {len(saved)} directories, {len(wrong)} wrong")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    main(sys.argv[1:])
