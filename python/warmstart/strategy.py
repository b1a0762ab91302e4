"""`Strategy`: the base of strategies, and `UpdateRule`, what a run does to the parameters in a step.

A strategy has parameters in scikit-learn's sense, so ``strategy__layer_decay`` is a name in a grid search.
Values are stored as given and checked when a plan is made, in `fit` or in `explain`.
"""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from warmstart import _core
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
    core_method: ClassVar[str]
    """The core's name of the method."""
    rate: ClassVar[float]
    """Default learning rate for hidden states of `defaults.RATED_WIDTH` values."""
    usual_rates: ClassVar[tuple[float, float, float]]
    """Lowest and highest usual learning rate, and the rate above which the model is most likely destroyed."""
    is_of_head_alone: ClassVar[bool] = False
    """Whether the backbone is frozen."""
    summed: "ClassVar[type[Strategy]]"
    """The class of sums."""
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

    def __add__(self, other: Any) -> "Strategy":
        if not isinstance(other, Strategy):
            return NotImplemented
        return Strategy.summed([*self.parts(), *other.parts()])  # type: ignore[call-arg]

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
        >>> from warmstart import FullFineTuning
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


def naming_strategy_parameters(kind: _Strategy) -> _Strategy:
    """Have a strategy's constructor name the parameter that a wrong keyword most likely meant."""
    kind.__init__ = naming_what_was_meant(ELSEWHERE)(kind.__init__)  # type: ignore[method-assign]
    return kind


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
