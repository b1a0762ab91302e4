#!/usr/bin/env bash
# transformers 5.24.0 (tokenizers 0.23.3) joins the words of a list without the spaces between them
# (is_split_into_words=True) where a byte-level tokenizer, as GPT-2's and RoBERTa's, was opened without
# add_prefix_space=True: other tokens than those of the text, without a word. 4.57.6 refuses the call by an assertion.
#
# Output seen:
#   transformers 5.24.0
#   text ['a', 'Ġb']
#   words ['a', 'b']
#   words, add_prefix_space=True ['Ġa', 'Ġb']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.24.0 tokenizers==0.23.3 jinja2==3.1.6

cat > check.py <<'PYTHON'
import json
import sys
from pathlib import Path

import transformers
from transformers import AutoTokenizer

folder = Path("model")
folder.mkdir()
vocab = {"<|endoftext|>": 0, "a": 1, "b": 2, "Ġ": 3, "Ġa": 4, "Ġb": 5}
(folder / "vocab.json").write_text(json.dumps(vocab))
(folder / "merges.txt").write_text("#version: 0.2\nĠ a\nĠ b\n")
(folder / "config.json").write_text('{"model_type": "gpt2"}')
print("transformers", transformers.__version__)


def tokens(texts, split, **options):
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    return tokenizer.convert_ids_to_tokens(tokenizer(texts, is_split_into_words=split)["input_ids"])


seen = [
    ("text", tokens("a b", False), ["a", "Ġb"]),
    ("words", tokens(["a", "b"], True), ["a", "b"]),
    ("words, add_prefix_space=True", tokens(["a", "b"], True, add_prefix_space=True), ["Ġa", "Ġb"]),
]
for what, got, _ in seen:
    print(what, got)
sys.exit(any(got != expected for _, got, expected in seen))
PYTHON

HF_HUB_OFFLINE=1 venv/bin/python check.py
