"""Our side of the step benchmarks: ``fit``, whose steps the core tells the history."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import warmstart as ws
from warmstart._core import get_num_threads
from warmstart.history import History

from bench.machine import versions
from bench.step_model import Shape, write_tokenizer


class WarmstartLoop:
    """A model from random weights, opened from a file, as one is to train it."""

    def __init__(self, shape: Shape, precision: str) -> None:
        self.shape, self.precision = shape, precision
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer(shape, Path(folder))
            ws.Backbone.from_config(shape.config(), folder, random_state=0).save_pretrained(Path(folder) / "model")
            self.backbone = ws.Backbone.from_pretrained(Path(folder) / "model")

    @contextmanager
    def recorded(self) -> Iterator[list[dict[str, Any]]]:
        """What the core tells of every step of a `fit` within, seconds since training began among it."""
        records: list[dict[str, Any]] = []
        with mock.patch.object(History, "add_step", lambda _, record: records.append(dict(record))):
            yield records

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("warmstart", "numpy")

    def threads(self) -> int:
        """As the library chose."""
        return int(get_num_threads())
