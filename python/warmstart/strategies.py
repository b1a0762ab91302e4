"""Strategies: which parameters are trained, how fast and how regularised, as plain data.

A strategy is a set of parameters in scikit-learn's sense, so ``strategy__learning_rate`` is a name in a grid search.
Values are stored as given and checked by the core when a plan is made, in `fit` or in `explain`.
"""

import json
from dataclasses import dataclass, fields
from math import isfinite
from numbers import Real
from typing import Any, ClassVar, TypeVar

from warmstart.backbone import require_backbone
from warmstart.keywords import hint, naming_what_was_meant
from warmstart.options import positive_int
from warmstart.plan import Plan


class Strategy:
    """What all strategies can do: be cloned, be nested in an estimator, be written as JSON, be explained."""

    method: ClassVar[str]
    learning_rate: float | None

    @property
    def steps(self) -> list[str]:
        """The parameters given that say how to train in steps; none of a strategy that always does."""
        return []

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn asks for them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def set_params(self, **params: Any) -> "Strategy":
        """Set parameters by name.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}{hint(name, list(known), ESTIMATOR)}")
            setattr(self, name, value)
        return self

    def resolved(self, learning_rate: float) -> dict[str, Any]:
        """Return what the core takes: `to_dict`, with this learning rate and a linear schedule where they are None."""
        chosen = {"learning_rate": learning_rate, "schedule": "linear"}
        plain = self.to_dict()
        return {**plain, **{name: value for name, value in chosen.items() if plain[name] is None}}

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"method": ..., **parameters}`` in plain Python values, as ``warmstart.json`` holds it.

        Raises
        ------
        TypeError
            A parameter is of another type than its default.
        ValueError
            A number is infinite or NaN.
        """
        defaults = type(self)().get_params()
        params = {name: _plain(name, value, defaults[name]) for name, value in self.get_params().items()}
        return {"method": self.method, **params}

    def explain(self, backbone: Any, n_outputs: int = 2) -> Plan:
        """Show what this strategy does to each layer of a backbone and a head on it.

        Parameters
        ----------
        backbone : Backbone
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
        from warmstart.defaults import SOLVED, how_head_learns, learning_rate

        inner = require_backbone(backbone)._inner
        rate, head = (
            learning_rate(self, inner.hidden_size, False),
            how_head_learns(self, inner.has_linear_head(False), self.steps),
        )
        told = inner.explain(json.dumps(self.resolved(rate.value)), False, positive_int("n_outputs", n_outputs))
        choices = {"head": head}
        if self.learning_rate is None and head.value != SOLVED:
            choices["learning_rate"] = rate
        return Plan(told, choices, head.value == SOLVED)

    def __repr__(self) -> str:
        defaults = type(self)().get_params()
        changed = [
            f"{name}={value!r}" for name, value in self.get_params().items() if repr(value) != repr(defaults[name])
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


ESTIMATOR = {"the estimator {}=...": ["epochs", "max_steps", "batch_size", "accumulation_steps", "class_weight"]}
"""What is no parameter of a strategy though it says how to train, for `naming_what_was_meant`."""

_Strategy = TypeVar("_Strategy", bound=type[Strategy])


def _naming_what_was_meant(kind: _Strategy) -> _Strategy:
    kind.__init__ = naming_what_was_meant(ESTIMATOR)(kind.__init__)  # type: ignore[method-assign]
    return kind


@_naming_what_was_meant
@dataclass(kw_only=True, repr=False)
class FullFineTuning(Strategy):
    """Train every parameter.

    Parameters
    ----------
    learning_rate : float, optional
        Peak rate of the head and the last layer; above 0. None chooses one by the width of the model.
    layer_decay : float
        Factor on the rate for each layer further down, in (0, 1]; 1 trains all alike (Howard and Ruder, 2018).
    weight_decay : float
        Decoupled decay (AdamW) of weight matrices; biases and norms have none.
    schedule : {"linear", "cosine", "constant"}
        How the rate falls after warm-up: to zero, or not at all.
    warmup_ratio : float
        Share of the steps in which the rate rises from zero, in [0, 1].
    max_grad_norm : float or None
        Clip the global gradient norm; None does not clip.
    label_smoothing : float
        Share of probability given to all classes alike, in [0, 1).
    beta1, beta2, epsilon : float
        Of Adam (Kingma and Ba, 2015).

    Examples
    --------
    >>> FullFineTuning(learning_rate=3e-5)
    FullFineTuning(learning_rate=3e-05)
    """

    method: ClassVar[str] = "full_fine_tuning"

    learning_rate: float | None = None
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    schedule: str = "linear"
    warmup_ratio: float = 0.1
    max_grad_norm: float | None = 1.0
    label_smoothing: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


@_naming_what_was_meant
@dataclass(kw_only=True, repr=False)
class LinearProbing(Strategy):
    """Train the head on a frozen backbone, whose activations are computed once.

    A head that is one linear map is solved to its optimum: cross entropy with an L2 penalty, whose strength is chosen
    by leave-one-out (see ``warmstart.solve``). A parameter of this strategy other than `label_smoothing` that is given,
    or ``learning_rate``, ``epochs``, ``max_steps``, ``eval_every`` or ``patience`` of the estimator, has it trained in
    steps instead, as heads of several layers are.

    Parameters
    ----------
    learning_rate : float, optional
        Peak rate of the head; above 0.
    schedule : {"linear", "cosine", "constant"}, optional
        How the rate falls; None is "linear".
    weight_decay, warmup_ratio, max_grad_norm, label_smoothing, beta1, beta2, epsilon
        As in `FullFineTuning`.

    Examples
    --------
    >>> LinearProbing()
    LinearProbing()
    """

    method: ClassVar[str] = "linear_probing"

    learning_rate: float | None = None
    weight_decay: float = 0.0
    schedule: str | None = None
    warmup_ratio: float = 0.0
    max_grad_norm: float | None = 1.0
    label_smoothing: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def steps(self) -> list[str]:
        """The parameters given that say how to train in steps."""
        defaults = type(self)().get_params()
        return [k for k, value in self.get_params().items() if k != "label_smoothing" and value != defaults[k]]


STRATEGIES: dict[str, type[Strategy]] = {kind.method: kind for kind in (FullFineTuning, LinearProbing)}

PARTS = {f"strategy={kind.__name__}({{}}=...)": list(kind().get_params()) for kind in STRATEGIES.values()}
"""Where the parameters of a strategy are given, for `naming_what_was_meant`."""


def require_strategy(value: Any) -> Strategy:
    """Return `value`, or `FullFineTuning` for None.

    Raises
    ------
    TypeError
        It is something else.
    """
    if value is None:
        return FullFineTuning()
    if isinstance(value, Strategy):
        return value
    kinds = " or ".join(f"{kind.__name__}()" for kind in STRATEGIES.values())
    raise TypeError(f"strategy must be None, {kinds}, got {value!r} ({type(value).__name__})")


_OPTIONAL = ("learning_rate", "max_grad_norm", "schedule")


def _plain(name: str, value: Any, default: Any) -> Any:
    """Return a parameter as JSON can hold it."""
    if value is None and name in _OPTIONAL and (default is None or name == "max_grad_norm"):
        return None
    if name == "schedule":
        if not isinstance(value, str):
            raise TypeError(f"strategy.{name} must be a str, got {value!r} ({type(value).__name__})")
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"strategy.{name} must be a number, got {value!r} ({type(value).__name__})")
    if not isfinite(value):
        raise ValueError(f"strategy.{name} must be finite, got {value!r}")
    return float(value)
