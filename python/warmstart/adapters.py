"""Adapters as strategies: low-rank matrices beside linear layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from warmstart.options import finite, flag, positive_int
from warmstart.strategy import Strategy, naming_strategy_parameters

ADAPTER = "default"
"""The name of an adapter that is trained, as PEFT has it."""


@naming_strategy_parameters
@dataclass(kw_only=True, repr=False)
class LoRA(Strategy):
    """Train the head and low-rank matrices added to linear layers: ``W x + scale * B (A x)`` (Hu et al., 2021).

    `B` is zero at first, so that training begins from the backbone as it is, which does not change.

    Parameters
    ----------
    rank : int
        Number of rows of each `A` and columns of each `B`.
    alpha : float or None
        ``scale`` is ``alpha / rank``; None takes twice the rank, so that it is 2.
    targets : str, sequence of str or None
        The layers that get matrices: parts of a transformer layer, which are ``"attention"``, ``"feed_forward"``,
        ``"query"``, ``"key"``, ``"value"``, ``"attention_output"``, ``"gate"``, ``"up"`` and ``"down"``, or names of
        modules or their ends, as ``["attention.self.query"]``; a str that is no part is a regular expression that
        matches the whole name of a module, as in PEFT. None takes all linear layers.
    rslora : bool
        Whether ``scale`` is ``alpha / sqrt(rank)`` instead (Kalajdzievski, 2023).
    dora : bool
        Whether rows of ``W + scale * B A`` are scaled to lengths that are learnt apart (DoRA, Liu et al., 2024).
    lora_plus : float
        Factor on the learning rate of `B` (LoRA+, Hayou et al., 2024).

    Examples
    --------
    >>> LoRA(rank=4, targets="attention")
    LoRA(rank=4, targets='attention')
    """

    method: ClassVar[str] = "lora"
    rate: ClassVar[float] = 2e-3
    usual_rates: ClassVar = (1e-4, 2e-2, 2e-1)

    rank: int = 8
    alpha: float | None = None
    targets: str | Sequence[str] | None = None
    rslora: bool = False
    dora: bool = False
    lora_plus: float = 1.0

    def _plain(self) -> dict[str, Any]:
        return {
            "rank": positive_int("strategy.rank", self.rank),
            "alpha": None if self.alpha is None else finite("strategy.alpha", self.alpha),
            "targets": _names("strategy.targets", self.targets),
            "rslora": flag("strategy.rslora", self.rslora),
            "dora": flag("strategy.dora", self.dora),
            "lora_plus": finite("strategy.lora_plus", self.lora_plus),
        }

    def _settings(self) -> dict[str, Any]:
        plain = self._plain()
        alpha = 2.0 * plain["rank"] if plain["alpha"] is None else plain["alpha"]
        kind = "dora" if plain.pop("dora") else "lora"
        return {**plain, "name": ADAPTER, "kind": kind, "alpha": alpha}


@naming_strategy_parameters
@dataclass(kw_only=True, repr=False)
class MiSS(Strategy):
    """Train the head and one matrix `M` for each linear layer: ``W x + M' z`` (MiSS, Kang and Yin, 2024).

    ``z[i]`` is the sum of the inputs ``x[j]`` with ``j mod rank == i``. `M` is zero at first.

    Parameters
    ----------
    rank : int
        Number of rows of each `M`.
    targets : str, sequence of str or None
        The layers that get matrices: parts of a transformer layer, which are ``"attention"``, ``"feed_forward"``,
        ``"query"``, ``"key"``, ``"value"``, ``"attention_output"``, ``"gate"``, ``"up"`` and ``"down"``, or names of
        modules or their ends, as ``["attention.self.query"]``; a str that is no part is a regular expression that
        matches the whole name of a module, as in PEFT. None takes all linear layers.

    Examples
    --------
    >>> MiSS(rank=4)
    MiSS(rank=4)
    """

    method: ClassVar[str] = "miss"
    core_method: ClassVar[str] = "lora"
    rate: ClassVar[float] = 4e-4
    usual_rates: ClassVar = (4e-5, 2e-3, 2e-2)

    rank: int = 8
    targets: str | Sequence[str] | None = None

    def _plain(self) -> dict[str, Any]:
        return {
            "rank": positive_int("strategy.rank", self.rank),
            "targets": _names("strategy.targets", self.targets),
        }

    def _settings(self) -> dict[str, Any]:
        plain = self._plain()
        fixed = {"alpha": 1.0, "rslora": False, "lora_plus": 1.0}
        return {**plain, **fixed, "name": ADAPTER, "kind": "miss"}


def _names(name: str, value: Any) -> str | list[str] | None:
    if value is None or isinstance(value, str):
        return value
    names = list(value)
    if not all(isinstance(one, str) for one in names):
        raise TypeError(f"{name} must be None, a str or a list of str, got {value!r}")
    return names
