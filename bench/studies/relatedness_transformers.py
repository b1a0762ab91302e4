"""Worker of the peers' environment: transformers learns the likeness of pairs; print one JSON line.

``python -m bench.studies.relatedness_transformers FILE``, a JSON of ``model``, a Hugging Face directory; ``train`` and
``asked``, pairs and numbers; ``rate``, ``epochs`` and ``seed``. The usual recipe: AdamW with a decay of 0.01, a
tenth of warm-up, linear fall, batches of 16.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from bench.environment import quiet_and_offline

quiet_and_offline()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from scipy.stats import pearsonr, spearmanr  # noqa: E402

BATCH, MAX_LENGTH = 16, 256


def train(work: dict[str, Any]) -> dict[str, Any]:
    """Train, predict, correlate."""
    torch.manual_seed(work["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(work["model"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        work["model"], num_labels=1, problem_type="regression"
    )

    def encoded(pairs: list[list[str]]) -> Any:
        first, second = zip(*pairs, strict=True)
        return tokenizer(list(first), list(second), truncation=True, max_length=MAX_LENGTH)

    def batch(encoding: Any, rows: Any) -> Any:
        return tokenizer.pad({name: [of[i] for i in rows] for name, of in encoding.items()}, return_tensors="pt")

    pairs, scores = encoded(work["train"][0]), torch.tensor(work["train"][1])
    groups: dict[bool, list[Any]] = {True: [], False: []}
    for parameter in model.parameters():
        groups[parameter.dim() > 1].append(parameter)
    optimiser = torch.optim.AdamW(
        [{"params": of, "weight_decay": 0.01 if decays else 0.0} for decays, of in groups.items()], lr=work["rate"]
    )
    steps = work["epochs"] * math.ceil(len(scores) / BATCH)
    schedule = transformers.get_linear_schedule_with_warmup(optimiser, steps // 10, steps)
    model.train()
    for _ in range(work["epochs"]):
        for rows in torch.randperm(len(scores)).split(BATCH):
            model(**batch(pairs, rows.tolist()), labels=scores[rows]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
    asked, known = encoded(work["asked"][0]), work["asked"][1]
    predicted = np.zeros(len(known))
    model.eval()
    with torch.inference_mode():
        for rows in np.array_split(np.argsort([len(ids) for ids in asked["input_ids"]]), math.ceil(len(known) / 32)):
            predicted[rows] = model(**batch(asked, rows)).logits[:, 0].numpy()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    correlations = {"pearson": pearsonr(known, predicted)[0], "spearman": spearmanr(known, predicted)[0]}
    return {"n": len(known), **correlations, "versions": versions}


if __name__ == "__main__":
    print(json.dumps(train(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
