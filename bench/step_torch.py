"""The peer of the step benchmark: a bare torch loop over transformers' ``...ForSequenceClassification``."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from bench.machine import versions
from bench.step_model import N_CLASSES, Shape


class TorchStep:
    """Fused AdamW, sdpa attention (XLNet: eager), gradients set to None, and no mask: there is no padding.

    Parameters
    ----------
    precision
        "f32", or "bf16" for autocast of forward and loss.
    compiled
        ``torch.compile``; its warm-up steps compile.
    """

    warm_up = 2

    def __init__(self, shape: Shape, precision: str, compiled: bool) -> None:
        self.shape, self.precision, self.compiled = shape, precision, compiled
        torch.manual_seed(0)
        config = AutoConfig.for_model(**shape.config(), num_labels=N_CLASSES)
        # XLNet's scores are sums of products, which transformers has in eager form alone.
        attention = "eager" if shape.family == "xlnet" else "sdpa"
        self.model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention).train()
        self.n_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.forward = torch.compile(self.model) if compiled else self.model
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)

    def run(self, timed: int) -> list[float]:
        """Seconds of each timed step."""
        ids, labels = self.shape.rows(self.warm_up + timed)
        batches = torch.tensor(ids).split(self.shape.texts)  # each [B, T]
        targets = torch.tensor(labels).split(self.shape.texts)  # each [B]
        seconds = []
        for batch, target in zip(batches, targets, strict=True):
            started = time.perf_counter()
            self.last_loss = self._step(batch, target)
            seconds.append(time.perf_counter() - started)
        return seconds[self.warm_up :]

    def _step(self, ids: Any, labels: Any) -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.forward(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("torch", "transformers")

    def threads(self) -> int:
        """As the library chose."""
        return int(torch.get_num_threads())

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {"attention": str(self.model.config._attn_implementation)}
