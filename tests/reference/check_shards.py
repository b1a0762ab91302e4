"""Check that transformers reads the same weights from a sharded save as from one of a single file.

Run by hand in the environment of make_reference.py:

    python tests/reference/check_shards.py SINGLE SHARDED

SINGLE and SHARDED are directories that `backbone.save_pretrained(dir)` or `clf.save(dir)` wrote of one model, the
second with a small `max_shard_size`. Exits with 1 if a value differs, or if a tensor is missing or unexpected.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # the directory alone must do

import torch
import transformers


def read(folder):
    [name] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    architecture = getattr(transformers, name)
    model, info = architecture.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys") if info[kind]}
    return model.state_dict(), problems


def check(single, sharded):
    n_files = len(list(sharded.glob("model-*-of-*.safetensors")))
    (wanted, problems), (found, more_problems) = read(single), read(sharded)
    for kind, names in [*problems.items(), *more_problems.items()]:
        print(f"{kind}: {names}")
    different = [name for name in wanted.keys() | found.keys() if not same(wanted.get(name), found.get(name))]
    print(f"{len(wanted)} tensors, {n_files} files, {len(different)} tensors differ {sorted(different)[:5]}")
    return n_files > 1 and not (different or problems or more_problems)


def same(a, b):
    return a is not None and b is not None and torch.equal(a, b)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(0 if check(*map(Path, sys.argv[1:])) else 1)
