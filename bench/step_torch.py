"""The peer of the step benchmark: a bare torch loop over transformers' ``...ForSequenceClassification``."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from bench.step_model import N_CLASSES, Shape
from bench.torch_loop import TorchLoop


class TorchStep(TorchLoop):
    """sdpa attention (XLNet: eager), and no mask: there is no padding.

    Parameters
    ----------
    compiled
        ``torch.compile``; its warm-up steps compile.
    """

    warm_up = 2

    def __init__(self, shape: Shape, precision: str, compiled: bool) -> None:
        self.shape, self.compiled = shape, compiled
        torch.manual_seed(0)
        config = AutoConfig.for_model(**shape.config(), num_labels=N_CLASSES)
        # XLNet's scores are sums of products, which transformers has in eager form alone.
        attention = "eager" if shape.family == "xlnet" else "sdpa"
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
        super().__init__(model, precision, torch.compile(model) if compiled else None)
        self.n_parameters = sum(parameter.numel() for parameter in model.parameters())

    def run(self, timed: int) -> list[float]:
        """Seconds of each timed step."""
        ids, labels = self.shape.rows(self.warm_up + timed)
        batches = torch.tensor(ids).split(self.shape.texts)  # each [B, T]
        targets = torch.tensor(labels).split(self.shape.texts)  # each [B]
        seconds = []
        for batch, target in zip(batches, targets, strict=True):
            started = time.perf_counter()
            self.last_loss = self.step(input_ids=batch, labels=target)
            seconds.append(time.perf_counter() - started)
        return seconds[self.warm_up :]

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {"attention": str(self.model.config._attn_implementation)}
