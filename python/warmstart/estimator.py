"""`TrainedEstimator`: the parameters of what a training run fits, by scikit-learn's protocol."""

from __future__ import annotations

from inspect import Parameter, signature, unwrap
from typing import TYPE_CHECKING, Any

from warmstart.keywords import naming_what_was_meant
from warmstart.older import state_of_version_2
from warmstart.parameters import Parameters, shown
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


class TrainedEstimator:
    """What scikit-learn asks of an estimator, with the parameters of ``strategy`` and ``optimizer`` as parameters.

    It does not import scikit-learn, which takes a second and 140 MB: a language model may do without.
    """

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
        names = list(signature(type(self).__init__).parameters)[1:]
        params: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name in NESTED if deep else ():
            nested = _stood_for(name, self.strategy) if params[name] is None else params[name]
            if hasattr(nested, "get_params"):
                params |= {f"{name}__{field}": value for field, value in nested.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of strategy and optimiser as ``strategy__layer_decay``.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        names = list(self.get_params(deep=False))
        nested: dict[str, dict[str, Any]] = {}
        for given, value in params.items():
            name, separator, field = given.partition("__")
            if name not in names:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {names}.")
            if separator:
                nested.setdefault(name, {})[field] = value
            else:
                setattr(self, name, value)
        for name, own in nested.items():
            if name in NESTED and getattr(self, name) is None:
                setattr(self, name, _stood_for(name, self.strategy))
            getattr(self, name).set_params(**own)
        return self

    def __repr__(self) -> str:
        known = signature(type(self).__init__).parameters.items()
        return shown(self, {name: one.default for name, one in known if one.default is not Parameter.empty})

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What was pickled before there was a parameter takes its default.
        known = signature(type(self).__init__).parameters
        defaults = {name: one.default for name, one in known.items() if one.default is not Parameter.empty}
        self.__dict__.update(defaults | state_of_version_2(state, known))


def _stood_for(name: str, strategy: Any) -> Parameters:
    """Return what a nested parameter that is None stands for; what is no strategy is refused by `fit` alone."""
    chosen = strategy if isinstance(strategy, Strategy) else FullFineTuning()
    return chosen if name == "strategy" else chosen.default_optimizer()
