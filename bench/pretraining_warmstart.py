"""Our side of the pretraining benchmark: ``LanguageModel.fit``, clocked step by step."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import warmstart as ws
from warmstart._core import get_num_threads
from warmstart.history import History

from bench.machine import versions
from bench.pretraining_documents import MAX_LENGTH
from bench.step_model import Shape, as_text, write_tokenizer


class WarmstartPretraining:
    """One epoch; batches are packed."""

    def __init__(self, shape: Shape, objective: str, precision: str) -> None:
        self.shape, self.precision = shape, precision
        self.objective = ws.MaskedLM(unit="token") if objective == "masked" else ws.CausalLM()
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer(shape, Path(folder))
            ws.Backbone.from_config(shape.config(), folder, random_state=0).save_pretrained(Path(folder) / "model")
            self.backbone = ws.Backbone.from_pretrained(Path(folder) / "model")

    def run(self, documents: list[list[int]]) -> tuple[list[float], list[int]]:
        """Seconds of each step, from the end of the one before, and tokens of each."""
        records: list[dict[str, Any]] = []
        with (
            tempfile.TemporaryDirectory() as cache,
            mock.patch.object(History, "add_step", lambda _, record: records.append(dict(record))),
        ):
            model = ws.LanguageModel(
                self.backbone,
                self.objective,
                strategy=ws.FullFineTuning(schedule="constant", warmup_ratio=0.0),
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

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("warmstart", "numpy")

    def threads(self) -> int:
        """As the library chose."""
        return int(get_num_threads())
