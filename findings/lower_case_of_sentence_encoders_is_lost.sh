#!/usr/bin/env bash
# A sentence encoder that lowers the case of texts no longer does so once it was saved and opened again.
#
# sentence-transformers 6.2.0 obeys do_lower_case=True by putting a Lowercase in front of the tokenizer's normaliser. When it
# saves, that is written to tokenizer.json, and sentence_bert_config.json says nothing of it any more. transformers 5.24.0
# builds a BertTokenizer anew from its vocabulary and do_lower_case (false for a cased model) and drops the Lowercase, so the
# vectors of texts with capitals change without a word. 4.57.6 keeps it. Seen with both libraries; shown here by the
# tokenizer.json alone, as 6.2.0 writes it, which needs no torch.
#
# Output seen:
#   transformers 5.24.0: "The Plot" -> [2, 1, 1, 3]
#   transformers 4.57.6: "The Plot" -> [2, 5, 6, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/check.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import transformers
from transformers import AutoTokenizer

vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "plot"])}
special = [
    {"id": vocab[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
     "special": True}
    for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
]  # fmt: skip
bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False}
tokenizer = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, bert]},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [vocab[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")},
    },
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100, "vocab": vocab},
}  # fmt: skip
folder = Path(sys.argv[1]) / transformers.__version__
folder.mkdir()
(folder / "tokenizer.json").write_text(json.dumps(tokenizer))
(folder / "config.json").write_text('{"model_type": "bert"}')
settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True}
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
ids = AutoTokenizer.from_pretrained(folder)("The Plot")["input_ids"]
print(f'transformers {transformers.__version__}: "The Plot" -> {ids}')
sys.exit(ids != json.loads(sys.argv[2]))
PYTHON

for pinned in "transformers==5.24.0 tokenizers==0.23.3 [2,1,1,3]" "transformers==4.57.6 tokenizers==0.22.2 [2,5,6,3]"; do
    read -r transformers tokenizers expected <<< "$pinned"
    python3 -m venv "$work/$transformers"
    "$work/$transformers/bin/pip" install --quiet "$transformers" "$tokenizers"
    HF_HUB_OFFLINE=1 "$work/$transformers/bin/python" "$work/check.py" "$work" "$expected"
done
