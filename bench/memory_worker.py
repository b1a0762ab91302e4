"""One training run in a fresh process: what was estimated, and what it took at most."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import warmstart as ws
from warmstart._core import peak_memory_bytes

from bench.step_model import Shape, as_text, write_tokenizer


def run(case: dict[str, Any]) -> dict[str, int]:
    """Estimate, then measure, ``TextClassifier(**case["params"]).fit``, in bytes.

    ``case`` also has the fields of `Shape` under ``shape``, the number of ``batches``, and whether there is an
    ``eval``. With the name of an ``objective`` it is ``LanguageModel.fit``, on documents of four texts each, of a
    model that was ``asked`` before or not.
    """
    params = dict(case["params"])
    strategy = params.pop("strategy", "FullFineTuning")
    params["strategy"] = ws.LoRA(dora=True) if strategy == "DoRA" else getattr(ws, strategy)()
    shape = Shape(**case["shape"])
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(shape, Path(folder))
        backbone = ws.Backbone.from_config(shape.config(), folder, random_state=0)
    ids, labels = shape.rows(case["batches"])
    if "lengths" in case:  # of the texts, one after another
        ids = [[*row[: case["lengths"][i % len(case["lengths"])] - 1], row[-1]] for i, row in enumerate(ids)]
    texts = [as_text(row) for row in ids]
    if "objective" in case:
        return language_model(case, params, backbone, [" ".join(texts[i : i + 4]) for i in range(0, len(texts), 4)])
    eval_set = (texts, labels) if case.get("eval") else None
    classifier = ws.TextClassifier(backbone, random_state=0, verbose=False, **params)
    estimate = classifier.estimate_memory(texts, labels, eval_set=eval_set).total
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    classifier.fit(texts, labels, eval_set=eval_set)
    return {"estimated": estimate, "measured": peak_memory_bytes()}


def language_model(
    case: dict[str, Any], params: dict[str, Any], backbone: ws.Backbone, texts: list[str]
) -> dict[str, int]:
    """As `run`."""
    objective = getattr(ws, case["objective"])()
    with tempfile.TemporaryDirectory() as folder:
        fixed = {"cache_dir": folder, "random_state": 0, "verbose": False, "max_length": case["shape"]["tokens"]}
        model = ws.LanguageModel(backbone, objective, **fixed, **params)
        eval_set = texts if case.get("eval") else None
        for _ in range(2 if case.get("asked") else 0):  # weights are packed when they are used again
            model.token_log_probs(texts[:1])
        estimate = model.estimate_memory(texts, eval_set=eval_set).total
        Path("/proc/self/clear_refs").write_text("5")
        model.fit(texts, eval_set=eval_set)
        return {"estimated": estimate, "measured": peak_memory_bytes()}


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
