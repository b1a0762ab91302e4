#!/usr/bin/env bash
# A special token that is written in a text is masked, or not, depending on who was asked which tokens are special.
#
# transformers 5.24.0 with tokenizers 0.23.3 (4.57.6 with 0.22.2 gives the same): DataCollatorForLanguageModeling asks the tokenizer
# which tokens are special, and leaves "[SEP]" and "[PAD]" out wherever they stand, "[UNK]" too. Its documentation advises
# to encode with return_special_tokens_mask=True. Then it takes that mask, which is the Encoding's of tokenizers: it knows
# the tokens that the post-processor has put around the text, not those in it. The written "[SEP]" becomes a target, and
# so does an unknown word.
#
# Output seen:
#   asked:    [1, 0, 0, 1, 1, 1, 0, 1] of [2, 5, 6, 3, 0, 1, 7, 3]
#   encoded:  [1, 0, 0, 0, 0, 0, 0, 1]
#   targets without the mask: [5, 6, 7]
#   targets with the mask:    [0, 1, 3, 5, 6, 7]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "transformers==5.24.0" "tokenizers==0.23.3" "numpy==2.4.6"
cat > "$work/check.py" <<'PYTHON'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIAL, "the", "cat", "mat"])}, unk_token="[UNK]"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
inner.add_special_tokens(SPECIAL)
inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **names)

text = "the cat [SEP] [PAD] zebra mat"
plain, marked = tokenizer(text), tokenizer(text, return_special_tokens_mask=True)
ids = plain["input_ids"]
asked = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
print("asked:   ", asked, "of", ids)
print("encoded: ", marked["special_tokens_mask"])

collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.99, return_tensors="np", seed=0)


def targets(encoding):
    found = {int(i) for _ in range(20) for i in collator([dict(encoding)])["labels"].ravel()}
    return sorted(found - {-100})


without, with_mask = targets(plain), targets(marked)
print("targets without the mask:", without)
print("targets with the mask:   ", with_mask)
sys.exit(0 if without == [5, 6, 7] and with_mask == [0, 1, 3, 5, 6, 7] else 1)
PYTHON
"$work/venv/bin/python" "$work/check.py"
