"""`TrainedEstimator`: scikit-learn's parameter protocol for estimators that are trained."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from warmstart.keywords import hint, naming_what_was_meant, unchecked
from warmstart.older import state_of_version_2
from warmstart.parameters import Parameters, shown
from warmstart.strategies import PARTS, FullFineTuning
from warmstart.strategy import Strategy

if TYPE_CHECKING:
    from typing_extensions import Self


FIT = {"fit(X, y, {}=...)": ["eval_set", "sample_weight"]}
"""Arguments of `fit` rather than of the constructor, for `naming_what_was_meant`."""


NESTED = ("strategy", "optimizer")
"""Parameters that have nested parameters."""

ASKED = (
    *("fit", "estimate_memory", "explain", "evaluate", "score", "perplexity", "token_log_probs"),
    *("predict", "predict_proba", "predict_tags", "decision_function"),
)
"""Methods that take texts; an unknown keyword given to one of them raises an error that names the right one."""


class TrainedEstimator:
    """scikit-learn's parameter protocol, including the nested parameters of ``strategy`` and ``optimizer``.

    It does not import scikit-learn, which takes a second and 140 MB, because a language model works without it.
    """

    strategy: Any
    optimizer: Any
    random_state: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = naming_what_was_meant(PARTS | FIT)(cls.__init__)  # type: ignore[method-assign]
        parameters = {f"{cls.__name__}({{}}=...)": list(signature(cls.__init__).parameters)[1:]}
        for name in ASKED:
            # Inherited methods too, if the class has its own constructor, whose parameters the error should name.
            if name in cls.__dict__ or ("__init__" in cls.__dict__ and hasattr(cls, name)):
                setattr(cls, name, naming_what_was_meant(parameters)(unchecked(getattr(cls, name))))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; those of a strategy or optimiser that is None are those of its default.

        Parameters
        ----------
        deep : bool
            Whether to include those of strategy and optimiser, as ``strategy__layer_decay`` and
            ``optimizer__weight_decay``.

        Raises
        ------
        RuntimeError
            The constructor of a subclass takes ``*args``.
        """
        if any(one.kind is Parameter.VAR_POSITIONAL for one in signature(type(self)).parameters.values()):
            raise RuntimeError(
                f"the constructor of {type(self).__name__} takes *args; an estimator names its parameters"
            )
        params: dict[str, Any] = {name: getattr(self, name) for name in _parameters(type(self))}
        for name in [name for name in NESTED if deep and name in params]:
            nested = self._stood_for(name) if params[name] is None else params[name]
            if isinstance(nested, Parameters):
                params |= {f"{name}__{field}": value for field, value in nested.get_params().items()}
        return params

    @classmethod
    def _of_package(cls) -> type:
        """Return this package's class, also for a user's subclass."""
        return next(kind for kind in cls.__mro__ if kind.__module__.partition(".")[0] == __package__)

    def _settings(self) -> dict[str, Any]:
        """Return the settings of a run: the parameters of this package's class, even if a subclass takes others."""
        return {name: getattr(self, name) for name in _parameters(self._of_package())}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of strategy and optimiser as ``strategy__layer_decay``.

        A strategy or optimiser that is given as None in the same call stays None if none of its parameters differs from
        the default, so that ``set_params(**get_params())`` changes nothing.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        names = list(_parameters(type(self)))
        nested: dict[str, dict[str, Any]] = {}
        for given, value in params.items():
            name, separator, field = given.partition("__")
            if name not in names:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}{hint(name, names, PARTS)}.")
            if separator:
                nested.setdefault(name, {})[field] = value
            else:
                setattr(self, name, value)
        # The strategy first, because the default optimiser follows from it.
        for name in sorted(nested, reverse=True):
            self._set_nested(name, nested[name], name in params and params[name] is None)
        return self

    def _set_nested(self, name: str, own: dict[str, Any], may_stay_none: bool) -> None:
        given = getattr(self, name)
        part = self._stood_for(name) if name in NESTED and given is None else given
        if isinstance(part, type) or not hasattr(part, "set_params"):
            fields = ", ".join(f"{name}__{field}" for field in own)
            raise ValueError(f"{fields}: {name} is {given!r}, which has no parameters to set; give it whole")
        before = part.get_params()
        part.set_params(**own)
        if not (may_stay_none and part.get_params() == before):
            setattr(self, name, part)

    def _stood_for(self, name: str) -> Parameters:
        """Return the default of a nested parameter that is None; only `fit` refuses a strategy of a wrong type."""
        strategy = getattr(self, "strategy", None)
        chosen = strategy if isinstance(strategy, Strategy) else FullFineTuning()
        return chosen if name == "strategy" else chosen.default_optimizer()

    def __repr__(self) -> str:
        return shown(self, _defaults(type(self)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Parameters that did not exist when the estimator was pickled take their defaults.
        of = self._of_package()
        self.__dict__.update(_defaults(of) | _defaults(type(self)) | state_of_version_2(state, _parameters(of)))


def _parameters(kind: type) -> dict[str, Parameter]:
    """Return the constructor's parameters by name; a user's subclass may have others, which `clone` loses."""
    known = signature(kind).parameters.items()
    others = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return {name: one for name, one in known if one.kind not in others}


def _defaults(kind: type) -> dict[str, Any]:
    known = _parameters(kind).items()
    return {name: one.default for name, one in known if one.default is not Parameter.empty}
