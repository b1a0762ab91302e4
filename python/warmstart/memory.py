"""`MemoryEstimate`: peak memory of a training run, compared with that of the machine."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from warmstart import _core
from warmstart.tables import format_bytes, html_table, text_table

_HEADERS = ("part", "bytes", "size")


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak resident bytes of the process during `fit`, by purpose.

    Attributes
    ----------
    process, weights : int
        What the process holds now: all but the backbone's weights, and these weights.
    trainable, gradients, optimizer : int
        Copies of the trainable weights, their gradients, Adam's two moments.
    kept : int
        A copy of the best weights so far.
    activations : int
        Activations of the largest batch that the forward pass keeps for the backward pass, and their gradients.
    scratch : int
        Packed operand of a matrix product.
    loss : int
        Logits and labels of a batch.
    evaluation : int
        Memory of an evaluation pass beyond that of a training step.
    allocator : int
        Memory that the allocator holds unused: a measured share.
    """

    process: int
    weights: int
    trainable: int
    gradients: int
    optimizer: int
    kept: int
    activations: int
    scratch: int
    loss: int
    evaluation: int
    allocator: int

    @property
    def total(self) -> int:
        """Peak of the process in bytes."""
        return sum(size for _, size in self._parts())

    @property
    def growth(self) -> int:
        """Bytes that `fit` needs beyond what the process holds now."""
        return self.total - self.process - self.weights

    def line(self) -> str:
        """Return a one-line summary to show before a run."""
        return f"memory: {format_bytes(self.total)} at the peak, {format_bytes(self.growth)} more than now"

    def _parts(self) -> list[tuple[str, int]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def _rows(self) -> list[tuple[str, int, str]]:
        return [(name, size, format_bytes(size)) for name, size in [*self._parts(), ("total", self.total)]]

    def __repr__(self) -> str:
        return text_table(_HEADERS, self._rows())

    def _repr_html_(self) -> str:
        return html_table(_HEADERS, self._rows(), caption="Memory at the peak")


def estimate(
    backbone: _core.Backbone,
    encodings: _core.Encodings,
    held_out: _core.Encodings | None,
    options: _core.TrainingOptions,
    task: _core.Task,
) -> MemoryEstimate:
    """Estimate the peak of a run with these options."""
    parts = _core.TaskModel.estimate_memory(backbone, task, encodings, held_out, options)
    return beside(backbone.n_parameters, parts)


def beside(n_parameters: int, parts: dict[str, int]) -> MemoryEstimate:
    """Add the memory of a run to what the process holds now, which includes the model's parameters."""
    weights = 4 * n_parameters
    return MemoryEstimate(process=max(_core.resident_memory_bytes() - weights, 0), weights=weights, **parts)


def check_fits(needed: MemoryEstimate, batch_tokens: int, least: int, again: Callable[..., MemoryEstimate]) -> None:
    """Refuse a run that needs more memory than the machine has; do nothing if the system does not report it.

    Parameters
    ----------
    needed : MemoryEstimate
        Estimate of the run.
    batch_tokens, least : int
        Tokens per batch, and of the longest text, which is the smallest possible batch.
    again : callable
        Gives the estimate with other options, passed as keywords.

    Raises
    ------
    DeviceError
        The machine has less memory; the message says what would help.
    """
    available = _core.available_memory_bytes()
    if available is None or needed.growth <= available:
        return

    def fits(**options: object) -> str:
        growth = again(**options).growth
        return f"{format_bytes(growth)}, which {'fits' if growth <= available else 'is still too much'}"

    advice = []
    smaller = batch_tokens // 2
    while smaller > least and again(batch_tokens=smaller).growth > available:
        smaller //= 2
    smaller = max(smaller, least)
    if smaller < batch_tokens:
        advice.append(f"batch_tokens={smaller} ({fits(batch_tokens=smaller)})")
    advice.append(f"recompute=True ({fits(recompute=True)})")
    advice.append("fewer trainable layers: strategy=LinearProbing()")
    raise _core.DeviceError(
        f"fit would take {format_bytes(needed.growth)} more memory, {format_bytes(needed.total)} in all, "
        f"and {format_bytes(available)} are available. What helps, in this order: {'; '.join(advice)}. "
        "estimate_memory(...) shows what takes it"
    )
