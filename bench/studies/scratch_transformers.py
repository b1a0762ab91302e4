"""Worker of the peers' environment: transformers trains a model on given batches; print one JSON line.

``python -m bench.studies.scratch_transformers FOLDER``, where FOLDER holds ``model``, a Hugging Face directory;
``training.npz`` and ``held_out.npz``, batches of `_core.pretraining_batches`; and ``settings.json``.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.environment import quiet_and_offline

quiet_and_offline()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

Arrays = dict[str, Any]


def read_batches(path: Path) -> list[list[Arrays]]:
    """The batches of each step."""
    steps: defaultdict[int, defaultdict[int, Arrays]] = defaultdict(lambda: defaultdict(dict))
    with np.load(path) as arrays:
        for name in arrays.files:
            step, batch, key = name.split(".")
            steps[int(step)][int(batch)][key] = torch.from_numpy(arrays[name])
    return [[batches[i] for i in sorted(batches)] for _, batches in sorted(steps.items())]


def summed_loss(model: Any, batch: Arrays) -> tuple[Any, int]:
    """The loss of all tokens that are asked, and how many these are. Sequences are padded on the right."""
    lengths = batch["cu_seqlens"].diff()
    n, longest = len(lengths), int(lengths.max())
    real = torch.arange(longest) < lengths[:, None]
    ids, segments = torch.zeros(n, longest, dtype=torch.long), torch.zeros(n, longest, dtype=torch.long)
    ids[real], segments[real] = batch["ids"], batch["segments"]
    inputs = {"input_ids": ids, "attention_mask": real.to(model.dtype if "targets" in batch else torch.long)}
    if model.config.model_type != "gpt2":
        inputs["token_type_ids"] = segments
    if "targets" in batch:
        asked = batch["cu_targets"].diff()
        answers = torch.arange(int(asked.max())) < asked[:, None]
        mapping = torch.zeros(n, int(asked.max()), longest, dtype=model.dtype)
        mapping[(*answers.nonzero(as_tuple=True), batch["targets"])] = 1.0
        permutation, first = torch.zeros(n, longest, longest, dtype=model.dtype), 0
        for i, length in enumerate(lengths.tolist()):
            hidden = batch["hidden"][first : first + length**2].view(length, length)
            permutation[i, :length, :length] = hidden.to(model.dtype)
            first += length**2
        logits = model(**inputs, perm_mask=permutation, target_mapping=mapping).logits[answers]
    else:
        logits = model(**inputs).logits[real][batch["rows"]]
    loss = torch.nn.functional.cross_entropy(logits, batch["labels"], ignore_index=-100, reduction="sum")
    return loss, int((batch["labels"] != -100).sum())


def held_out_loss(model: Any, batches: list[Arrays]) -> float:
    """The mean over all tokens that are asked."""
    with torch.inference_mode():
        losses = [summed_loss(model, batch) for batch in batches]
    return sum(loss.item() for loss, _ in losses) / sum(asked for _, asked in losses)


def train(folder: Path) -> dict[str, Any]:
    """AdamW, schedule and clipping as `settings.json` says; biases and norms do not decay."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    dtype = getattr(torch, settings["dtype"])
    architecture = json.loads((folder / "model/config.json").read_text(encoding="utf-8"))["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder / "model", dtype=dtype)
    steps, (held_out,) = read_batches(folder / "training.npz"), read_batches(folder / "held_out.npz")
    groups: dict[bool, list[Any]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.dim() > 1 and not name.endswith("bias")].append(parameter)
    optimiser = torch.optim.AdamW(
        [{"params": of, "weight_decay": settings["weight_decay"] if decays else 0.0} for decays, of in groups.items()],
        lr=settings["learning_rate"],
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
    )
    schedule = transformers.get_scheduler(
        settings["schedule"], optimiser, math.ceil(settings["warmup_ratio"] * len(steps)), len(steps)
    )
    training, evaluated = [], []
    for number, batches in enumerate(steps, start=1):
        model.train()
        losses = [summed_loss(model, batch) for batch in batches]
        loss = sum(loss for loss, _ in losses) / sum(asked for _, asked in losses)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"])
        optimiser.step()
        schedule.step()
        training.append((number, loss.item()))
        if number % settings["eval_every"] == 0 or number == len(steps):
            evaluated.append((number, held_out_loss(model.eval(), held_out)))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"held_out": evaluated, "training": training, "versions": versions}


if __name__ == "__main__":
    print(json.dumps(train(Path(sys.argv[1]))))
