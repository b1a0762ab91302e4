"""`TrainedEstimator`: what estimators that a training run fits have in common."""

from __future__ import annotations

import os
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from warmstart.backbone import Backbone
from warmstart.keywords import naming_what_was_meant
from warmstart.memory import MemoryEstimate
from warmstart.older import state_of_version_2
from warmstart.options import MAX_SHARD_SIZE, byte_count, optional_positive_int
from warmstart.parameters import Parameters
from warmstart.plan import Plan
from warmstart.prepared import Prepared
from warmstart.strategies import PARTS, require_optimizer, require_strategy
from warmstart.texts import Texts
from warmstart.training import Trained

if TYPE_CHECKING:
    from typing_extensions import Self


FIT = {"fit(X, y, {}=...)": ["eval_set"]}
"""What is given later, for `naming_what_was_meant`."""


NESTED = ("strategy", "optimizer")
"""Parameters that have parameters."""

ASKED = ("fit", "predict", "predict_proba", "predict_tags", "decision_function", "score", "evaluate")
"""Methods that take texts; what they are called elsewhere is named."""


class TrainedEstimator(BaseEstimator):  # type: ignore[misc]
    """A scikit-learn estimator with the parameters ``strategy`` and ``optimizer``; fitted, it has ``_trained``."""

    strategy: Any
    optimizer: Any
    max_length: int | None
    _trained: Trained

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = naming_what_was_meant(PARTS | FIT)(cls.__init__)  # type: ignore[method-assign]
        known = {f"{cls.__name__}({{}}=...)": list(signature(cls.__init__).parameters)[1:]}
        for name in ASKED:
            if name in cls.__dict__:
                setattr(cls, name, naming_what_was_meant(known)(cls.__dict__[name]))

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
        known = signature(type(self).__init__).parameters.values()
        defaults = {one.name: one.default for one in known if one.default is not Parameter.empty}
        super().__setstate__(defaults | state_of_version_2(state))

    @naming_what_was_meant()
    def estimate_memory(self, X: Texts, y: Any, *, eval_set: tuple[Any, Any] | None = None) -> MemoryEstimate:
        """Estimate the peak of the process's memory during ``fit`` with the same arguments, without training.

        Parameters
        ----------
        X, y, eval_set
            As in `fit`: the lengths of the texts and the number of classes decide.

        Returns
        -------
        MemoryEstimate
            In bytes; shows itself as a table.

        Raises
        ------
        TypeError, ValueError, DataError, DeviceError
            As `fit` raises them for its arguments.

        Examples
        --------
        >>> clf.estimate_memory(texts, labels).total > 0
        True
        """
        return self._settle(X, y, eval_set).memory()

    @naming_what_was_meant()
    def explain(self, X: Texts, y: Any, *, eval_set: tuple[Any, Any] | None = None) -> Plan:
        """Show what ``fit`` with the same arguments does to each layer, and what it chooses and why, without training.

        Parameters
        ----------
        X, y, eval_set
            As in `fit`.

        Returns
        -------
        Plan
            Shows itself as tables.

        Raises
        ------
        TypeError, ValueError, DataError, DeviceError
            As `fit` raises them for its arguments.

        Examples
        --------
        >>> "head" in clf.explain(texts, labels).choices
        True
        """
        return self._settle(X, y, eval_set).plan()

    def _settle(self, X: Texts, y: Any, eval_set: Any) -> Prepared:
        """Return the run of `fit` with these arguments before it starts."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str], *, max_shard_size: int | str = MAX_SHARD_SIZE) -> None:
        """Write a Hugging Face directory that `load` reads; an older save there is replaced whole.

        transformers reads it, too, with the head of its class; of a head on sentence vectors, for which it has no
        class, the backbone alone.

        Parameters
        ----------
        path : str or path
            The directory.
        max_shard_size : int or str
            Weights of more bytes than this, as in ``"200MB"``, become several files with an index.

        Raises
        ------
        NotFittedError
            There is nothing to save yet.
        OSError
            The directory cannot be written; an older save there survives.

        Notes
        -----
        Of a decoder the files name a padding token, with which transformers runs it in batches: the tokenizer's own, or
        as is custom the one that ends a text. A text that ends with that token itself transformers classifies by the
        token before.
        """
        from warmstart.saving import save_classifier

        check_is_fitted(self)
        save_classifier(self, self._trained, os.fspath(path), byte_count("max_shard_size", max_shard_size))

    @property
    def backbone_(self) -> Backbone:
        """The backbone as training left it."""
        check_is_fitted(self)
        return Backbone(self._trained.model.backbone)

    def _limit(self) -> int | None:
        """Where texts are cut: as asked, else as in training."""
        asked = optional_positive_int("max_length", self.max_length)
        return self._trained.max_length if asked is None else asked

    def _keep(self, trained: Trained) -> None:
        self._trained = trained
        self.classes_ = trained.classes.values
        self.history_ = trained.history
        self.report_ = trained.report
        self.random_state_ = trained.random_state
        self.n_iter_ = trained.n_iter


def _stood_for(name: str, strategy: Any) -> Parameters:
    """Return what a nested parameter that is None stands for."""
    chosen = require_strategy(strategy)
    return chosen if name == "strategy" else require_optimizer(None, chosen)
