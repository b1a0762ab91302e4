"""`TrainedEstimator`: the parameters of what a training run fits, by scikit-learn's protocol."""

from __future__ import annotations

from inspect import Parameter, signature, unwrap
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator

from warmstart.keywords import naming_what_was_meant
from warmstart.older import state_of_version_2
from warmstart.parameters import Parameters
from warmstart.strategies import PARTS, FullFineTuning, Strategy

if TYPE_CHECKING:
    from typing_extensions import Self


FIT = {"fit(X, y, {}=...)": ["eval_set", "sample_weight"]}
"""What is given later, for `naming_what_was_meant`."""


NESTED = ("strategy", "optimizer")
"""Parameters that have parameters."""

ASKED = (
    *("fit", "estimate_memory", "explain", "evaluate", "score", "perplexity"),
    *("predict", "predict_proba", "predict_tags", "decision_function"),
)
"""Methods that take texts; what they are called elsewhere is named."""


class TrainedEstimator(BaseEstimator):  # type: ignore[misc]
    """A scikit-learn estimator with the parameters ``strategy`` and ``optimizer``, whose own are parameters too."""

    strategy: Any
    optimizer: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = naming_what_was_meant(PARTS | FIT)(cls.__init__)  # type: ignore[method-assign]
        parameters = {f"{cls.__name__}({{}}=...)": list(signature(cls.__init__).parameters)[1:]}
        for name in ASKED:
            # Inherited ones too, where the class has parameters of its own to be named.
            if name in cls.__dict__ or ("__init__" in cls.__dict__ and hasattr(cls, name)):
                setattr(cls, name, naming_what_was_meant(parameters)(unwrap(getattr(cls, name))))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; of a strategy or optimiser that is None those of the one it stands for.

        Parameters
        ----------
        deep : bool
            With those of strategy and optimiser, as ``strategy__layer_decay`` and ``optimizer__weight_decay``.
        """
        params: dict[str, Any] = super().get_params(deep)
        for name in NESTED if deep else ():
            if params[name] is None:
                own = _stood_for(name, self.strategy).get_params()
                params |= {f"{name}__{field}": value for field, value in own.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of strategy and optimiser as ``strategy__layer_decay``.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        for name in NESTED:
            is_nested = any(param.startswith(f"{name}__") for param in params)
            if is_nested and params.get(name, getattr(self, name)) is None:
                params = {**params, name: _stood_for(name, params.get("strategy", self.strategy))}
        super().set_params(**params)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What was pickled before there was a parameter takes its default.
        known = signature(type(self).__init__).parameters
        defaults = {name: one.default for name, one in known.items() if one.default is not Parameter.empty}
        super().__setstate__(defaults | state_of_version_2(state, known))


def _stood_for(name: str, strategy: Any) -> Parameters:
    """Return what a nested parameter that is None stands for; what is no strategy is refused by `fit` alone."""
    chosen = strategy if isinstance(strategy, Strategy) else FullFineTuning()
    return chosen if name == "strategy" else chosen.default_optimizer()
