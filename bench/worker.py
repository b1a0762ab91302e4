"""What a worker, a process that measures one side once, hands to :mod:`bench.rounds`: one line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One side, measured once.

    Attributes
    ----------
    measures
        Numbers by the keys of the section's measures.
    equal
        What must be the same on two sides for their ratio to mean anything, such as the number of tokens.
    settings
        What was chosen for the run.
    details
        What else explains a number.
    unavailable
        Why this build or machine cannot do it; the rest is then empty.
    """

    measures: dict[str, float] = field(default_factory=dict)
    equal: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    threads: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    unavailable: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Result:
        return cls(**json.loads(line))


def emit(measure: Callable[[], Result]) -> None:
    """Measure and print the result; a ``warmstart.DeviceError`` is a result too, any other error ends the process."""
    try:
        result = measure()
    except _device_errors() as error:
        result = Result(unavailable=str(error))
    print(result.to_json(), flush=True)


def _device_errors() -> tuple[type[Exception], ...]:
    """``warmstart.DeviceError`` where warmstart was imported: the peers' environment does not have it."""
    module = sys.modules.get("warmstart")
    return () if module is None else (module.DeviceError,)
