#!/usr/bin/env bash
# The output bias of a BERT for masked words whose output layer is not tied (tie_word_embeddings: false) is lost between
# transformers 4.57.6 and 5.24.0, in both directions; from 5 to 4 without a word.
#
# 4.57.6 has one parameter under two names and writes it as cls.predictions.bias. 5.24.0 has two: it uses
# cls.predictions.decoder.bias, and writes a cls.predictions.bias that it never uses beside it. So 5.24.0 does not find the
# bias that 4.57.6 wrote and begins with zeros (it says MISSING), and 4.57.6 finds both and takes the idle one, zeros
# (it says nothing). RoBERTa and ALBERT have the same two names. A file with the value under both names is right in both.
#
# Seen with torch 2.15.0 and tokenizers 0.22.2 and 0.23.3; the bias is 0, 1, 2, ... 8, other logits are below 0.1:
#   wrote    read     missing                          largest logit
#   4.57.6   4.57.6   []                               8
#   4.57.6   5.24.0   ['cls.predictions.decoder.bias'] 0
#   5.24.0   5.24.0   []                               8
#   5.24.0   4.57.6   []                               0
#
# Takes some 6 GB for torch while it runs.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/new"
"$folder/new/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 transformers==5.24.0 requests==2.34.2
"$folder/new/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder/old" \
  transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error

new() { "$folder/new/bin/python" "$@"; }
old() { PYTHONPATH="$folder/old" "$folder/new/bin/python" "$@"; }

cat > "$folder/write.py" <<'PYTHON'
import sys
import torch
from transformers import BertConfig, BertForMaskedLM

torch.manual_seed(0)
sizes = {"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
model = BertForMaskedLM(BertConfig(**sizes, tie_word_embeddings=False))
with torch.no_grad():
    model.cls.predictions.decoder.bias.copy_(torch.arange(9.0))
model.save_pretrained(sys.argv[1])
PYTHON
cat > "$folder/read.py" <<'PYTHON'
import sys
import torch
import transformers

model, info = transformers.BertForMaskedLM.from_pretrained(sys.argv[1], output_loading_info=True)
with torch.no_grad():
    largest = model.eval()(torch.tensor([[1, 2]])).logits.max().item()
print(transformers.__version__, sorted(info["missing_keys"]), f"{largest:.0f}")
PYTHON

old "$folder/write.py" "$folder/by_old" > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
new "$folder/write.py" "$folder/by_new" > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
{
  old "$folder/read.py" "$folder/by_old"
  new "$folder/read.py" "$folder/by_old"
  new "$folder/read.py" "$folder/by_new"
  old "$folder/read.py" "$folder/by_new"
} 2> "$folder/log" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.57.6 [] 8
5.24.0 ['cls.predictions.decoder.bias'] 0
5.24.0 [] 8
4.57.6 [] 0
SEEN
