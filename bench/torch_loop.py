"""The peer of the step benchmarks: a bare torch loop, as one writes it by hand."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

from typing import Any

import torch

from bench.machine import versions


class TorchLoop:
    """Fused AdamW, clipping, gradients set to None.

    Parameters
    ----------
    precision
        "f32", or "bf16" for autocast of forward and loss.
    forward
        What computes the loss, if not the model itself: the compiled one.
    """

    def __init__(self, model: Any, precision: str, forward: Any = None) -> None:
        self.model, self.precision, self.forward = model.train(), precision, model if forward is None else forward
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)

    def step(self, **inputs: Any) -> float:
        """Take one step of the optimiser; the loss before it."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.forward(**inputs).loss
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
