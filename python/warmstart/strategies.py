"""Strategies as plain data: which parameters are trained, and the relative learning rates of layers.

A strategy has parameters in scikit-learn's sense, so ``strategy__layer_decay`` is a name in a grid search.
Values are stored as given and checked by the core when a plan is made, in `fit` or in `explain`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from warmstart import _core, border
from warmstart.defaults import SOLVED, how_head_learns, learning_rate
from warmstart.keywords import naming_what_was_meant
from warmstart.opening import opened
from warmstart.optim import OF_THE_ESTIMATOR, PART, AdamW
from warmstart.options import finite, positive_int
from warmstart.parameters import Parameters
from warmstart.plan import Plan

ELSEWHERE = OF_THE_ESTIMATOR | {f"the estimator {how}": names for how, names in PART.items()}
"""Training parameters that do not belong to the strategy, for `naming_what_was_meant`."""


class Strategy(Parameters):
    """Base class of strategies, which can be cloned, nested in an estimator, written as JSON, and explained."""

    method: ClassVar[str]
    is_of_head_alone: ClassVar[bool] = False
    """Whether the backbone is frozen."""
    elsewhere: ClassVar = ELSEWHERE

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
        params = {name: finite(f"strategy.{name}", value) for name, value in self.get_params().items()}
        return {"method": self.method, **params}

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
        rule = update_rule(self, None, rate.value)
        told = inner.explain(*border.update_rule(rule), _core.Task.classification(positive_int("n_outputs", n_outputs)))
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

    Examples
    --------
    >>> FullFineTuning(layer_decay=0.9)
    FullFineTuning(layer_decay=0.9)
    """

    method: ClassVar[str] = "full_fine_tuning"

    layer_decay: float = 1.0


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
    is_of_head_alone: ClassVar[bool] = True

    def default_optimizer(self) -> AdamW:
        """Return the optimiser to use if the estimator has none."""
        return AdamW(weight_decay=0.0, warmup_ratio=0.0)


STRATEGIES: dict[str, type[Strategy]] = {kind.method: kind for kind in (FullFineTuning, LinearProbing)}

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
    kinds = " or ".join(f"{kind.__name__}()" for kind in STRATEGIES.values())
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


def update_rule(strategy: Strategy, optimizer: Any, learning_rate: Any) -> dict[str, Any]:
    """Return the update rule for the core's ``options["strategy"]``: trainable parameters and optimiser.

    Parameters
    ----------
    strategy : Strategy
    optimizer : AdamW or None
        None takes the strategy's default.
    learning_rate : float
        Peak rate.

    Raises
    ------
    TypeError, ValueError
        A value is of another type, infinite or NaN.
    """
    steps = require_optimizer(optimizer, strategy).to_dict()
    del steps["kind"]
    return {
        **strategy.to_dict(),
        **steps,
        "learning_rate": finite("learning_rate", learning_rate),
    }
