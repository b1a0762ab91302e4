"""Strategies as plain data: which parameters are trained, what is added, and the relative learning rates of layers.

A strategy has parameters in scikit-learn's sense, so ``strategy__layer_decay`` is a name in a grid search.
Values are stored as given and checked when a plan is made, in `fit` or in `explain`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar, TypeVar

from warmstart import _core
from warmstart.defaults import SOLVED, how_head_learns, learning_rate
from warmstart.keywords import naming_what_was_meant
from warmstart.opening import opened
from warmstart.optim import OF_THE_ESTIMATOR, PART, AdamW
from warmstart.options import finite, flag, positive_int
from warmstart.parameters import Parameters
from warmstart.plan import Plan

ELSEWHERE = OF_THE_ESTIMATOR | {f"the estimator {how}": names for how, names in PART.items()}
"""Training parameters that do not belong to the strategy, for `naming_what_was_meant`."""


class Strategy(Parameters):
    """Base class of strategies, which can be cloned, nested in an estimator, written as JSON, and explained."""

    method: ClassVar[str]
    core_method: ClassVar[str]
    """The core's name of the method."""
    rate: ClassVar[float]
    """Default learning rate for hidden states of `defaults.RATED_WIDTH` values."""
    usual_rates: ClassVar[tuple[float, float, float]]
    """Lowest and highest usual learning rate, and the rate above which the model is most likely destroyed."""
    is_of_head_alone: ClassVar[bool] = False
    """Whether the backbone is frozen."""
    elsewhere: ClassVar = ELSEWHERE

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "core_method" not in cls.__dict__ and "method" in cls.__dict__:
            cls.core_method = cls.method

    def default_optimizer(self) -> AdamW:
        """Return the optimiser to use if the estimator has none."""
        return AdamW()

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"method": ..., **parameters}`` in plain Python values, as ``warmstart.json`` holds it.

        Raises
        ------
        TypeError
            A parameter is of another type than its default.
        ValueError
            A number is infinite or NaN.
        """
        return {"method": self.method, **self._plain()}

    def _plain(self) -> dict[str, Any]:
        """Return the parameters in plain Python values, checked."""
        return {name: finite(f"strategy.{name}", value) for name, value in self.get_params().items()}

    def _settings(self) -> dict[str, Any]:
        """Return the core's settings of the method, by the names that it has for them."""
        return self._plain()

    def parts(self) -> "list[Strategy]":
        """Return the strategies that apply together: this one alone, unless it is a sum."""
        return [self]

    def __add__(self, other: Any) -> "Combined":
        if not isinstance(other, Strategy):
            return NotImplemented
        return Combined([*self.parts(), *other.parts()])

    def core(self) -> _core.Strategy:
        """Return the strategy as the core takes it.

        Raises
        ------
        TypeError, ValueError
            A parameter is of a wrong type or out of its range, or parts do not go together.
        """
        parts = self.parts()
        told = [{"method": {one.core_method: one._settings()}, "factor": one.rate / parts[0].rate} for one in parts]
        return _core.Strategy(json.dumps(told))

    def explain(self, backbone: Any, n_outputs: int = 2) -> Plan:
        """Show what this strategy does to each layer of a backbone and a head on it, at its default rate.

        Parameters
        ----------
        backbone : Backbone, str or path
            The model to be trained.
        n_outputs : int
            Number of classes.

        Returns
        -------
        Plan
            Shows itself as a table.

        Raises
        ------
        ValueError
            A parameter is out of its range.

        Examples
        --------
        >>> plan = FullFineTuning(layer_decay=0.9).explain(backbone)
        >>> plan.n_trainable == plan.n_parameters
        True
        """
        inner = opened(backbone, False)._inner
        rate = learning_rate(self, inner.hidden_size, False)
        head = how_head_learns(self, inner.has_linear_head(False), [])
        rule = UpdateRule.of(self, None, rate.value)
        told = inner.explain(*rule.core(), _core.Task.classification(positive_int("n_outputs", n_outputs)))
        choices = {"head": head} if head.value == SOLVED else {"head": head, "learning_rate": rate}
        return Plan(told, choices, head.value == SOLVED)


_Strategy = TypeVar("_Strategy", bound=type[Strategy])


def _naming_what_was_meant(kind: _Strategy) -> _Strategy:
    kind.__init__ = naming_what_was_meant(ELSEWHERE)(kind.__init__)  # type: ignore[method-assign]
    return kind


@_naming_what_was_meant
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


@_naming_what_was_meant
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


@_naming_what_was_meant
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


@_naming_what_was_meant
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


@_naming_what_was_meant
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


@_naming_what_was_meant
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


@_naming_what_was_meant
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


@_naming_what_was_meant
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


@_naming_what_was_meant
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


ADAPTER = "default"
"""The name of an adapter that is trained, as PEFT has it."""

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


def _names(name: str, value: Any) -> str | list[str] | None:
    if value is None or isinstance(value, str):
        return value
    names = list(value)
    if not all(isinstance(one, str) for one in names):
        raise TypeError(f"{name} must be None, a str or a list of str, got {value!r}")
    return names


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


def require_optimizer(value: Any, strategy: Strategy) -> AdamW:
    """Return `value`, or the strategy's default for None.

    Raises
    ------
    TypeError
        `value` is of another type.
    """
    if value is None:
        return strategy.default_optimizer()
    if isinstance(value, AdamW):
        return value
    raise TypeError(f"optimizer must be None or AdamW(), got {value!r} ({type(value).__name__})")


@dataclass(frozen=True)
class UpdateRule:
    """What a run does to the parameters in a step: strategy, optimiser, and the peak of the learning rate."""

    strategy: Strategy
    optimizer: AdamW
    learning_rate: float

    @classmethod
    def of(cls, strategy: Strategy, optimizer: Any, learning_rate: Any) -> "UpdateRule":
        """Return the rule, checked; an optimiser of None is the strategy's default.

        Raises
        ------
        TypeError, ValueError
            A value is of another type, infinite or NaN.
        """
        rule = cls(strategy, require_optimizer(optimizer, strategy), finite("learning_rate", learning_rate))
        rule.core()
        return rule

    def core(self) -> tuple[_core.Strategy, _core.AdamW]:
        """Return strategy and optimiser as the core takes them."""
        steps = self.optimizer.to_dict()
        del steps["kind"]
        return self.strategy.core(), _core.AdamW(**steps, learning_rate=self.learning_rate)
