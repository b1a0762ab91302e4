#!/usr/bin/env bash
# transformers 5.24.0: a GGUF file whose `tokenizer.ggml.pre` it does not know is split as GPT-2's, without a word.
#
# The names smollm, starcoder, refact, deepseek-llm, deepseek-coder, deepseek-v3, seed-coder, viking and others are written by
# llama.cpp's converter for Llama models, and each has its own splitting; llama.cpp refuses a name it does not know.
# transformers gives every one of them, and a name nobody has, the splitting of GPT-2: here "12" stays one token, which
# SmolLM's own tokenizer splits in two, so that the ids are not those that the model has learnt.
#
# Here its own function that makes a tokenizer of a file's metadata is called, since reading the file takes PyTorch.
#
# Seen: smollm ['12'], no-such-name ['12'], llama-bpe ['12'], qwen2 ['1', '2'] (the last two as published).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet transformers==5.24.0
"$place/venv/bin/python" - <<'PYTHON'
from tokenizers.pre_tokenizers import ByteLevel
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer

tokens = [*sorted(ByteLevel.alphabet()), "12"]
found = {}
for pre in ("smollm", "no-such-name", "llama-bpe", "qwen2"):
    metadata = {"tokenizer_type": "gpt2", "pre_tokenizer_type": pre, "tokens": tokens, "merges": ["1 2"]}
    tokenizer, _ = convert_gguf_tokenizer("llama", metadata)
    found[pre] = tokenizer.encode("12").tokens
print(found)
assert found == {"smollm": ["12"], "no-such-name": ["12"], "llama-bpe": ["12"], "qwen2": ["1", "2"]}, found
PYTHON
