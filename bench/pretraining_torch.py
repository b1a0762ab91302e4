"""The peer of the pretraining benchmark: a bare torch loop over transformers, models with heads of language models."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import random
import time
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from bench.step_model import SPECIAL, Shape
from bench.torch_loop import TorchLoop

MASK, IGNORED, RATE = SPECIAL.index("[MASK]"), -100, 0.15


class TorchPretraining(TorchLoop):
    """sdpa attention; batches of as many documents as hold the budget on average.

    Parameters
    ----------
    grouped
        Batches are of documents of similar length, as the Trainer's ``group_by_length`` makes them of so few.
    """

    def __init__(self, shape: Shape, objective: str, precision: str, grouped: bool) -> None:
        self.shape, self.masked, self.grouped = shape, objective == "masked", grouped
        torch.manual_seed(0)
        config = AutoConfig.for_model(**shape.config())
        kind = AutoModelForMaskedLM if self.masked else AutoModelForCausalLM
        super().__init__(kind.from_config(config, attn_implementation="sdpa"), precision)

    def run(self, documents: list[list[int]]) -> tuple[list[float], list[int]]:
        """Seconds of each step, from the making of its batch on, and tokens of each, padding not counted."""
        mean = sum(map(len, documents)) / len(documents)
        n = max(1, round(self.shape.texts * self.shape.tokens / mean))
        if self.grouped:
            documents = sorted(documents, key=len)
        batches = [documents[first : first + n] for first in range(0, len(documents), n)]
        random.Random(0).shuffle(batches)
        seconds, tokens = [], []
        for batch in batches:
            started = time.perf_counter()
            self.last_loss = self._collated_step(batch)
            seconds.append(time.perf_counter() - started)
            tokens.append(sum(map(len, batch)))
        return seconds, tokens

    def _collated_step(self, batch: list[list[int]]) -> float:
        rows = [torch.tensor(ids) for ids in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [B, T]
        lengths = torch.tensor([len(ids) for ids in batch])
        there = torch.arange(ids.shape[1]) < lengths[:, None]  # [B, T]
        inputs: dict[str, Any] = {} if bool(there.all()) else {"attention_mask": there.long()}
        labels = ids.masked_fill(~there, IGNORED)
        if self.masked:
            chosen = (torch.rand(ids.shape) < RATE) & there & (ids >= len(SPECIAL))
            labels = labels.masked_fill(~chosen, IGNORED)
            fate = torch.rand(ids.shape)
            random_ids = torch.randint(len(SPECIAL), self.shape.vocabulary, ids.shape)
            ids = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), random_ids, ids)
            ids = ids.masked_fill(chosen & (fate < 0.8), MASK)
        return self.step(input_ids=ids, labels=labels, **inputs)
