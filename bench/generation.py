"""Worker: SmolLM2-135M goes on with prompts on one side, greedily; print one JSON line.

Run from the repository's root: ``python -m bench.generation --side transformers --precision bf16 --prompts 4``.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from bench.assets import SMOLLM2, fetch
from bench.decoder import PROMPTS, decoder_directory
from bench.environment import quiet_and_offline
from bench.machine import core_count, peak_rss_mb, versions
from bench.worker import Result, emit

CALLS = 3
PACKAGES = {
    "warmstart": ("warmstart", "numpy"),
    "transformers": ("torch", "transformers"),
    "llama.cpp": ("llama-cpp-python",),
}
Write = Callable[[list[str]], list[str]]


def warmstart_side(model: Path, precision: str, n_tokens: int) -> Write:
    """Open the model; what is returned writes ``n_tokens`` to each prompt."""
    import warmstart as ws

    opened = ws.LanguageModel.from_pretrained(model, precision=precision)
    return lambda prompts: opened.generate(prompts, max_new_tokens=n_tokens, temperature=0)


def transformers_side(model: Path, precision: str, n_tokens: int) -> Write:
    """Open the model; prompts are padded on the left."""
    quiet_and_offline()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    opened = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)

    def write(prompts: list[str]) -> list[str]:
        inputs = tokenizer(prompts, return_tensors="pt", padding=True)
        lengths = {"max_new_tokens": n_tokens, "min_new_tokens": n_tokens}
        with torch.inference_mode():
            ids = opened.generate(**inputs, **lengths, do_sample=False, pad_token_id=0)
        texts: list[str] = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    return write


def llama_cpp_side(_model: Path, _precision: str, n_tokens: int) -> Write:
    """Open the file that the directory was made of, weights as stored; prompts one after another."""
    from llama_cpp import Llama

    file = fetch(SMOLLM2) / SMOLLM2.files[0]
    opened = Llama(str(file), n_ctx=512, n_threads=core_count(), n_threads_batch=core_count(), verbose=False)

    def write(prompts: list[str]) -> list[str]:
        texts = []
        for prompt in prompts:
            opened.reset()  # it would go on from the prompt before, if that begins alike
            never = {opened.token_eos(): -1e9}
            text = opened.create_completion(prompt, max_tokens=n_tokens, temperature=0, logit_bias=never)
            texts.append(text["choices"][0]["text"])
        return texts

    return write


SIDES = {"warmstart": warmstart_side, "transformers": transformers_side, "llama.cpp": llama_cpp_side}


def generation(side: str, precision: str, n_prompts: int, n_tokens: int) -> Result:
    """Median over calls, after one to warm up."""
    if side == "llama.cpp" and find_spec("llama_cpp") is None:
        return Result(unavailable="needs llama-cpp-python, which pip builds from source; it is no requirement")
    write = SIDES[side](decoder_directory(), precision, n_tokens)
    prompts = list(PROMPTS[:n_prompts])
    seconds, texts = [], write(prompts)
    for _ in range(CALLS):
        started = time.perf_counter()
        texts = write(prompts)
        seconds.append(time.perf_counter() - started)
    return Result(
        measures={"tokens_per_s": n_prompts * n_tokens / statistics.median(seconds), "peak_rss_mb": peak_rss_mb()},
        equal={"prompts": n_prompts, "new tokens": n_tokens},
        settings={"temperature": 0, "calls": CALLS},
        versions=versions(*PACKAGES[side]),
        details={"begins": texts[0][:40]},
    )


def main() -> None:
    """Parse the command line, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=PACKAGES, required=True)
    parser.add_argument("--precision", choices=("f32", "bf16", "q4_1"), required=True)
    parser.add_argument("--prompts", type=int, choices=range(1, len(PROMPTS) + 1), default=1)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    emit(lambda: generation(options.side, options.precision, options.prompts, options.tokens))


if __name__ == "__main__":
    main()
