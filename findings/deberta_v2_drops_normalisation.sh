#!/usr/bin/env bash
# transformers 5.24.0: DebertaV2Tokenizer leaves out the normalisation that its spm.model holds.
#
# A SentencePiece model is trained on normalised text, and holds the compiled rules; SentencePiece itself follows them, and so
# did transformers 4.57.6. 5.24.0 takes the pieces and scores alone and puts NFC in the place of the rules, so that what the
# rules would have made of full-width letters, ligatures and fractions is unknown to the model. Tokenizers of other families
# keep the rules. warmstart follows them, and saves such a tokenizer as PreTrainedTokenizerFast, which both versions take as
# it stands.
#
# Seen: of full-width "cat" SentencePiece makes the pieces of "cat", transformers one unknown piece; of "ﬁne" the same.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet transformers==5.24.0 sentencepiece==0.2.3 protobuf==7.36.2
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import json
import pathlib

import sentencepiece
import transformers

sentences = ["the cat sat on a fine mat", "a fine cat ran to the mat", "the fine mat and the cat"] * 50
names = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(sentences), model_prefix="spm", vocab_size=40, hard_vocab_limit=False, minloglevel=2,
    normalization_rule_name="nmt_nfkc", pad_id=0, bos_id=1, eos_id=2, unk_id=3, **names,
)
pathlib.Path("deberta").mkdir()
pathlib.Path("deberta/spm.model").write_bytes(pathlib.Path("spm.model").read_bytes())
own = sentencepiece.SentencePieceProcessor(model_file="spm.model")
tokenizer = transformers.DebertaV2Tokenizer.from_pretrained("deberta")
unknown = tokenizer.unk_token_id
for text, plain in (("\uff43\uff41\uff54", "cat"), ("\ufb01ne", "fine")):
    given = tokenizer(text, add_special_tokens=False)["input_ids"]
    print(text, "SentencePiece", own.encode(text), "transformers", given, "unknown", unknown)
    assert own.encode(text) == own.encode(plain) and unknown not in own.encode(text)
    assert tokenizer(plain, add_special_tokens=False)["input_ids"] == own.encode(plain)
    assert unknown in given
kinds = [step["type"] for step in json.loads(tokenizer._tokenizer.to_str())["normalizer"]["normalizers"]]
print(kinds)
assert "NFC" in kinds and "Precompiled" not in kinds, kinds
PYTHON
