"""Our side of the pretraining benchmark: ``LanguageModel.fit``, clocked step by step."""

from __future__ import annotations

import tempfile
from itertools import pairwise

import warmstart as ws

from bench.pretraining_documents import MAX_LENGTH
from bench.step_model import Shape, as_text
from bench.warmstart_loop import WarmstartLoop


class WarmstartPretraining(WarmstartLoop):
    """One epoch; batches are packed."""

    def __init__(self, shape: Shape, objective: str, precision: str) -> None:
        super().__init__(shape, precision)
        self.objective = ws.MaskedLM(unit="token") if objective == "masked" else ws.CausalLM()

    def run(self, documents: list[list[int]]) -> tuple[list[float], list[int]]:
        """Seconds of each step, from the end of the one before, and tokens of each."""
        with tempfile.TemporaryDirectory() as cache, self.recorded() as records:
            model = ws.LanguageModel(
                self.backbone,
                self.objective,
                optimizer=ws.AdamW(schedule="constant", warmup_ratio=0.0),
                batch_tokens=self.shape.texts * self.shape.tokens,
                max_length=MAX_LENGTH,
                precision=self.precision,
                random_state=0,
                cache_dir=cache,
                verbose=False,
            )
            model.fit([as_text(ids) for ids in documents])
        self.last_loss = float(records[-1]["loss"])
        so_far = [{"elapsed_s": 0.0, "tokens": 0}, *records]
        seconds = [after["elapsed_s"] - before["elapsed_s"] for before, after in pairwise(so_far)]
        tokens = [after["tokens"] - before["tokens"] for before, after in pairwise(so_far)]
        return seconds, tokens
