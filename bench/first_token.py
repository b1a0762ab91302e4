"""Worker: a fresh interpreter imports a library, opens SmolLM2-135M and writes one token; print one JSON line.

The clock starts at the interpreter's first statement; the model is in the system's cache of files. Run from the
repository's root: ``python -m bench.first_token --side warmstart``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile

from bench.decoder import PROMPTS, decoder_directory
from bench.environment import quiet_and_offline
from bench.machine import versions
from bench.worker import Result, emit

PROBES = {
    "warmstart": """
import sys, time
started = time.perf_counter()
import warmstart as ws
model = ws.LanguageModel.from_pretrained(sys.argv[1], precision="f32")
text = model.generate([sys.argv[2]], max_new_tokens=1, temperature=0)[0]
""",
    "transformers": """
import sys, time
started = time.perf_counter()
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
inputs = tokenizer(sys.argv[2], return_tensors="pt")
ids = model.generate(**inputs, max_new_tokens=1, do_sample=False, pad_token_id=0)
text = tokenizer.decode(ids[0, -1:])
""",
}
END = """
total = time.perf_counter() - started
import json
print(json.dumps(dict(total_s=total, text=text)))
"""
PACKAGES = {"warmstart": ("warmstart", "numpy"), "transformers": ("torch", "transformers")}


def first_token(side: str) -> Result:
    """Run the probe in a folder that holds nothing it could import by accident."""
    model = decoder_directory().resolve()
    for file in model.iterdir():
        file.read_bytes()
    quiet_and_offline()
    with tempfile.TemporaryDirectory() as nowhere:
        command = [sys.executable, "-c", PROBES[side] + END, str(model), PROMPTS[0]]
        done = subprocess.run(command, cwd=nowhere, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"The probe of side {side} failed:\n{done.stderr.strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Result(
        measures={"total_s": found["total_s"]},
        equal={"token": found["text"].strip()},
        settings={"precision": "f32"},
        versions=versions(*PACKAGES[side]),
    )


def main() -> None:
    """Parse the command line, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=PROBES, required=True)
    options = parser.parse_args()
    emit(lambda: first_token(options.side))


if __name__ == "__main__":
    main()
