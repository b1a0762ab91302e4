#!/usr/bin/env bash
# transformers 5.24.0 (tokenizers 0.23.3) does not obey add_bos_token=true in the tokenizer_config.json of a LlamaTokenizer
# where a tokenizer.json lies beside it whose post-processor adds no <s>. 4.57.6 obeys it, and adds <s> even where nothing is
# said. So the same directory gives a model another first token.
#
# Output seen:
#   transformers 5.24.0: [4, 5], asked to begin with 1
#   transformers 4.57.6: [1, 4, 5], asked to begin with 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > check.py <<'PYTHON'
import json
import sys
from pathlib import Path

import transformers
from transformers import AutoTokenizer

vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "▁a": 4, "▁b": 5, "a": 6, "b": 7}
special = [
    {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for i, t in enumerate(["<unk>", "<s>", "</s>"])
]
tokenizer = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    "post_processor": None, "decoder": None,
    "model": {"type": "BPE", "vocab": vocab, "merges": [["▁", "a"], ["▁", "b"]], "unk_token": "<unk>"},
}  # fmt: skip
folder = Path("model")
folder.mkdir(exist_ok=True)
(folder / "tokenizer.json").write_text(json.dumps(tokenizer))
(folder / "config.json").write_text('{"model_type": "llama"}')
settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
ids = AutoTokenizer.from_pretrained(folder)("a b")["input_ids"]
print(f"transformers {transformers.__version__}: {ids}, asked to begin with 1")
sys.exit(ids != json.loads(sys.argv[1]))
PYTHON

for pinned in "5.24.0 0.23.3 [4,5]" "4.57.6 0.22.2 [1,4,5]"; do
    read -r version tokenizers expected <<< "$pinned"
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet "transformers==$version" "tokenizers==$tokenizers" \
        sentencepiece==0.2.3 protobuf==7.36.2 jinja2==3.1.6
    HF_HUB_OFFLINE=1 "venv-$version/bin/python" check.py "$expected"
done
