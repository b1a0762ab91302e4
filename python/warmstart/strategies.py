"""Strategies as plain data: which parameters are trained, what is added, and the relative learning rates of layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar

from warmstart.adapters import LoRA, MiSS
from warmstart.optim import PART, AdamW
from warmstart.options import positive_int
from warmstart.strategy import Strategy, naming_strategy_parameters


@naming_strategy_parameters
@dataclass(kw_only=True, repr=False)
class FullFineTuning(Strategy):
    """Train every parameter.

    Parameters
    ----------
    layer_decay : float
        Factor on the learning rate for each layer further down, in (0, 1]; 1 trains all alike (Howard and Ruder, 2018).
    head_factor : float
        Factor on the learning rate of a new head.
    embeddings_factor : float
        Factor on the learning rate of the embeddings, beside ``layer_decay``.

    Examples
    --------
    >>> FullFineTuning(layer_decay=0.9)
    FullFineTuning(layer_decay=0.9)
    """

    method: ClassVar[str] = "full_fine_tuning"
    rate: ClassVar[float] = 1e-4
    usual_rates: ClassVar = (1e-5, 5e-4, 1e-2)

    layer_decay: float = 1.0
    head_factor: float = 1.0
    embeddings_factor: float = 1.0


@naming_strategy_parameters
@dataclass(kw_only=True, repr=False)
class LinearProbing(Strategy):
    """Train the head on a frozen backbone, whose activations are computed once.

    A linear head is solved to its optimum: cross entropy with an L2 penalty, whose strength is chosen by leave-one-out
    (see ``warmstart.solve``). If the estimator sets ``learning_rate``, ``optimizer``, ``epochs``, ``max_steps``,
    ``eval_every``, ``patience`` or ``early_stopping``, the head is trained in steps instead, as are heads of several
    layers; by default without weight decay and warm-up.

    Examples
    --------
    >>> LinearProbing()
    LinearProbing()
    """

    method: ClassVar[str] = "linear_probing"
    rate: ClassVar[float] = 1e-2
    usual_rates: ClassVar = (1e-3, 1e-1, 0.5)
    is_of_head_alone: ClassVar[bool] = True

    def default_optimizer(self) -> AdamW:
        """Return the optimiser to use if the estimator has none."""
        return AdamW(weight_decay=0.0, warmup_ratio=0.0)


@naming_strategy_parameters
@dataclass(repr=False)
class TopLayers(Strategy):
    """Train the head and the topmost layers; the layers below and the embeddings stay as they are.

    No gradient is computed below the lowest of them.

    Parameters
    ----------
    n : int
        Number of layers, from 1 to those of the backbone.

    Examples
    --------
    >>> TopLayers(2)
    TopLayers(n=2)
    """

    method: ClassVar[str] = "top_layers"
    rate: ClassVar[float] = 5e-4
    usual_rates: ClassVar = (1e-5, 5e-3, 1e-1)

    n: int = 2

    def _plain(self) -> dict[str, Any]:
        return {"n": positive_int("strategy.n", self.n)}

    def __repr__(self) -> str:
        return f"TopLayers(n={self.n!r})"


@naming_strategy_parameters
@dataclass(repr=False)
class Layers(Strategy):
    """Train the head and the named layers; all other layers and the embeddings stay as they are.

    Parameters
    ----------
    layers : sequence of int
        Numbers of layers from 0, the lowest; negative ones count from the top.

    Examples
    --------
    >>> Layers([0, -1])
    Layers(layers=[0, -1])
    """

    method: ClassVar[str] = "layers"
    rate: ClassVar[float] = 5e-4
    usual_rates: ClassVar = (1e-5, 5e-3, 1e-1)

    layers: Sequence[int] = field(default_factory=lambda: [-1])

    def _plain(self) -> dict[str, Any]:
        if isinstance(self.layers, str) or not isinstance(self.layers, Sequence | range):
            raise TypeError(f"strategy.layers must be a list of int, got {self.layers!r}")
        return {"layers": [integer("strategy.layers", layer) for layer in self.layers]}


@naming_strategy_parameters
@dataclass(kw_only=True, repr=False)
class BitFit(Strategy):
    """Train the head and all biases of the backbone (Ben Zaken et al., 2022).

    Examples
    --------
    >>> BitFit()
    BitFit()
    """

    method: ClassVar[str] = "bit_fit"
    rate: ClassVar[float] = 3e-3
    usual_rates: ClassVar = (1e-4, 1e-2, 1e-1)


@naming_strategy_parameters
@dataclass(kw_only=True, repr=False)
class NormTuning(Strategy):
    """Train the head and the weights and biases of all norms of the backbone (Qi et al., 2022).

    Examples
    --------
    >>> NormTuning()
    NormTuning()
    """

    method: ClassVar[str] = "norm_tuning"
    rate: ClassVar[float] = 5e-3
    usual_rates: ClassVar = (1e-4, 1e-2, 1e-1)


@naming_strategy_parameters
@dataclass(repr=False)
class Combined(Strategy):
    """Strategies that apply together, each at its own rate; made with ``+``, as in ``LoRA(rank=4) + BitFit()``.

    A parameter follows the first strategy that trains it. The learning rate of an estimator is that of the first; those
    of the others keep their ratio to it.

    Parameters
    ----------
    strategies : sequence of Strategy

    Examples
    --------
    >>> LoRA(rank=4) + BitFit()
    LoRA(rank=4) + BitFit()
    """

    method: ClassVar[str] = "combined"

    strategies: Sequence[Strategy] = field(default_factory=lambda: [LoRA(), BitFit()])

    @property
    def rate(self) -> float:  # type: ignore[override]
        """Default learning rate of the first strategy."""
        return self.parts()[0].rate

    @property
    def usual_rates(self) -> tuple[float, float, float]:  # type: ignore[override]
        """Usual learning rates of the first strategy."""
        return self.parts()[0].usual_rates

    def parts(self) -> list[Strategy]:
        """Return the strategies."""
        if not isinstance(self.strategies, Sequence) or not all(isinstance(one, Strategy) for one in self.strategies):
            raise TypeError(f"strategies must be a list of strategies, got {self.strategies!r}")
        parts = [part for one in self.strategies for part in one.parts()]
        if len(parts) < 2:
            raise ValueError(f"strategies={self.strategies!r}: expected two or more; one alone needs no sum")
        whole = [part for part in parts if isinstance(part, FullFineTuning | LinearProbing)]
        if whole:
            raise ValueError(f"{whole[0]!r} goes with no other strategy: it says of every parameter whether it learns")
        return parts

    def _plain(self) -> dict[str, Any]:
        return {"strategies": [one.to_dict() for one in self.parts()]}

    def __repr__(self) -> str:
        if isinstance(self.strategies, list) and len(self.strategies) > 1:
            return " + ".join(map(repr, self.strategies))
        return f"Combined({self.strategies!r})"


Strategy.summed = Combined

_ALL = (FullFineTuning, LinearProbing, TopLayers, Layers, BitFit, NormTuning, LoRA, MiSS, Combined)
STRATEGIES: dict[str, type[Strategy]] = {kind.method: kind for kind in _ALL}


def strategy_of(fields: dict[str, Any]) -> Strategy:
    """Return the strategy that `Strategy.to_dict` wrote."""
    fields = dict(fields)
    kind = STRATEGIES[fields.pop("method")]
    if kind is Combined:
        fields = {"strategies": [strategy_of(one) for one in fields["strategies"]]}
    return kind(**fields)


def integer(name: str, value: Any) -> int:
    """Return ``value`` as an int; TypeError if it is none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a list of int, got {value!r} ({type(value).__name__}) in it")
    return int(value)


PARTS = {
    **{f"strategy={kind.__name__}({{}}=...)": list(kind().get_params()) for kind in STRATEGIES.values()},
    **PART,
}
"""Templates of the code that sets parameters of strategy and optimiser, for `naming_what_was_meant`."""


def require_strategy(value: Any) -> Strategy:
    """Return `value`, or `FullFineTuning` for None.

    Raises
    ------
    TypeError
        `value` is of another type.
    """
    if value is None:
        return FullFineTuning()
    if isinstance(value, Strategy):
        moved = {name: given for name, given in vars(value).items() if name not in value.get_params()}
        if moved:
            held = ", ".join(f"{name}={value!r}" for name, value in moved.items())
            raise TypeError(
                f"strategy has {held}, as in an older version; make it anew, and give these to the estimator: "
                "learning_rate=..., label_smoothing=..., optimizer=AdamW(...)"
            )
        return value
    kinds = " or ".join(f"{kind.__name__}()" for kind in STRATEGIES.values() if kind is not Combined)
    raise TypeError(f"strategy must be None, {kinds}, got {value!r} ({type(value).__name__})")
