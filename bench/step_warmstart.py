"""Our side of the step benchmark: ``TextClassifier.fit``, clocked step by step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import warmstart as ws

from bench.step_model import as_text
from bench.warmstart_loop import WarmstartLoop


class WarmstartStep(WarmstartLoop):
    """One run of ``warm_up + timed`` steps over distinct texts, in one epoch.

    The surface has no bare step. The core tells the history after every step how many seconds passed since training
    began; the differences are whole steps, the making of the batch included. Tokenising lies before the first and the
    audit of gradients in it; the check of the weights at the epoch's end comes after the last.
    """

    warm_up = 2

    def run(self, timed: int) -> list[float]:
        """Seconds of each timed step.

        Raises
        ------
        RuntimeError
            If a step was not of ``[B, T]`` tokens or not reported.
        """
        ids, labels = self.shape.rows(self.warm_up + timed)
        batch_tokens = self.shape.texts * self.shape.tokens
        classifier = ws.TextClassifier(
            self.backbone,
            optimizer=ws.AdamW(schedule="constant", warmup_ratio=0.0),
            epochs=1,
            batch_tokens=batch_tokens,
            precision=self.precision,
            random_state=0,
            verbose=False,
        )
        with self.recorded() as records:
            classifier.fit([as_text(row) for row in ids], labels)
        expected = [(step, step * batch_tokens) for step in range(1, self.warm_up + timed + 1)]
        if [(record["step"], record["tokens"]) for record in records] != expected:
            raise RuntimeError(f"expected steps of {batch_tokens} tokens, each reported; got {records}")
        self.n_parameters = int(classifier.report_.training["parameters"])
        self.last_loss = float(records[-1]["loss"])
        elapsed = [float(record["elapsed_s"]) for record in records[self.warm_up - 1 :]]
        return [after - before for before, after in pairwise(elapsed)]

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        return {}
