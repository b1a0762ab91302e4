"""Worker: a fresh interpreter imports a library, opens the model and embeds one sentence; print one JSON line.

The clock starts at the interpreter's first statement. Run from the repository's root:
``python -m bench.first_embedding --side warmstart``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.assets import fetch_assets
from bench.environment import quiet_and_offline
from bench.machine import versions
from bench.worker import Result, emit

SENTENCE = "the company said its net profit for the quarter rose to mln dlrs from mln a year earlier"

PROBE = """
import sys, time
started = time.perf_counter()
{statement}
imported = time.perf_counter()
vectors = {expression}
done = time.perf_counter()
import json
shape = "x".join(map(str, vectors.shape))
sklearn = "sklearn" in sys.modules
print(json.dumps(dict(import_s=imported - started, total_s=done - started, shape=shape, sklearn=sklearn)))
"""
PROBES = {  # import statement, expression for vectors [1, D], packages to name
    "warmstart": (
        "import warmstart as ws",
        "ws.Backbone.from_pretrained(sys.argv[1]).embed([sys.argv[2]])",
        ("warmstart", "numpy"),
    ),
    "sentence-transformers": (
        "from sentence_transformers import SentenceTransformer",
        "SentenceTransformer(sys.argv[1], device='cpu').encode([sys.argv[2]], show_progress_bar=False)",
        ("torch", "transformers", "sentence-transformers"),
    ),
}


def first_embedding(side: str, model_dir: Path) -> Result:
    """Run the probe in a folder that holds nothing it could import by accident."""
    statement, expression, packages = PROBES[side]
    quiet_and_offline()
    code = PROBE.format(statement=statement, expression=expression)
    with tempfile.TemporaryDirectory() as nowhere:
        command = [sys.executable, "-c", code, str(model_dir.resolve()), SENTENCE]
        done = subprocess.run(command, cwd=nowhere, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"The probe of side {side} failed:\n{done.stderr.strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Result(
        measures={"total_s": found["total_s"], "import_s": found["import_s"], "sklearn": float(found["sklearn"])},
        equal={"shape": found["shape"]},
        versions=versions(*packages),
    )


def main() -> None:
    """Parse the command line, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=PROBES, required=True)
    options = parser.parse_args()
    model_dir = fetch_assets().model
    emit(lambda: first_embedding(options.side, model_dir))


if __name__ == "__main__":
    main()
