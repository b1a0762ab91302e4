"""`SupervisedEstimator`: the base of estimators that learn from texts and labels."""

import os
from dataclasses import replace
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from warmstart.backbone import Backbone
from warmstart.estimator import TrainedEstimator
from warmstart.labels import Classes
from warmstart.memory import MemoryEstimate
from warmstart.options import MAX_SHARD_SIZE, byte_count, optional_positive_int
from warmstart.plan import Plan
from warmstart.prepared import Prepared
from warmstart.saving import save_estimator
from warmstart.texts import Texts
from warmstart.training import Trained


class SupervisedEstimator(TrainedEstimator, BaseEstimator):  # type: ignore[misc]
    """An estimator that learns from texts and labels; fitted, it has ``_trained``."""

    max_length: int | None
    _trained: Trained
    _unmerged: Trained | None = None

    __repr__ = BaseEstimator.__repr__

    def estimate_memory(
        self, X: Texts, y: Any, *, sample_weight: Any = None, eval_set: tuple[Any, Any] | None = None
    ) -> MemoryEstimate:
        """Estimate the peak of the process's memory during ``fit`` with the same arguments, without training.

        Parameters
        ----------
        X, y, sample_weight, eval_set
            As in `fit`: the lengths of the texts and the number of outputs decide.

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
        return self._settle(X, y, sample_weight, eval_set).memory()

    def explain(self, X: Texts, y: Any, *, sample_weight: Any = None, eval_set: tuple[Any, Any] | None = None) -> Plan:
        """Show what ``fit`` with the same arguments does to each layer, and what it chooses and why, without training.

        Parameters
        ----------
        X, y, sample_weight, eval_set
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
        return self._settle(X, y, sample_weight, eval_set).plan()

    def _settle(self, X: Texts, y: Any, sample_weight: Any, eval_set: Any) -> Prepared:
        """Return the run of `fit` with these arguments before it starts."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str], *, max_shard_size: int | str = MAX_SHARD_SIZE) -> None:
        """Write a Hugging Face directory that `load` reads; an older save there is replaced whole.

        transformers reads it, too, with the head of its own class; if the head is on sentence vectors, for which
        transformers has no class, it reads the backbone alone.

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
        For a decoder the files name a padding token, which transformers needs for batches: the tokenizer's own, or as
        is custom the end-of-text token. If a text itself ends with that token, transformers classifies it by the token
        before.
        """
        check_is_fitted(self)
        save_estimator(self, self._trained, os.fspath(path), byte_count("max_shard_size", max_shard_size))

    def save_adapter(self, path: str | os.PathLike[str]) -> None:
        """Write the adapter that was trained, its head, and what else was trained, in PEFT's files.

        ``from_pretrained(base, adapter=path)`` reads them, and so does PEFT; the files hold no base model. `save`
        writes the whole model instead, with the adapter merged into its weights.

        Parameters
        ----------
        path : str or path
            The directory.

        Raises
        ------
        NotFittedError
            There is nothing to save yet.
        ValueError
            There is no adapter, or PEFT's files cannot hold what was trained.
        OSError
            The directory cannot be written; an older adapter there survives.
        """
        check_is_fitted(self)
        target = self._trained.target
        are_numbers = isinstance(target, Classes) and target.values.dtype.kind in "iu"
        self._trained.model.save_adapter(os.fspath(path), target.names, are_numbers, self._limit())

    def merge_adapter(self) -> "SupervisedEstimator":
        """Merge the trained adapter into the weights, computed in float64 and kept in float32; returns ``self``.

        Predictions stay the same but for rounding, and are as fast as without an adapter. `unmerge_adapter` undoes it.

        Raises
        ------
        NotFittedError
            There is no trained adapter yet.
        ValueError
            There is no adapter, or it is merged already.
        """
        check_is_fitted(self)
        if not self._trained.model.backbone.adapters:
            raise ValueError("there is no adapter to merge: strategy=LoRA() or MiSS() trains one")
        self._unmerged = self._trained
        self._trained = replace(self._trained, model=self._trained.model.merged())
        return self

    def unmerge_adapter(self) -> "SupervisedEstimator":
        """Undo `merge_adapter`: backbone and adapter have the bytes that they had; returns ``self``.

        Raises
        ------
        ValueError
            No adapter is merged.
        """
        if self._unmerged is None:
            raise ValueError("no adapter is merged")
        self._trained, self._unmerged = self._unmerged, None
        return self

    @property
    def backbone_(self) -> Backbone:
        """The backbone after training."""
        check_is_fitted(self)
        return Backbone(self._trained.model.backbone)

    def _limit(self) -> int | None:
        """Maximum length in tokens: the one set by the user, else that of the training."""
        asked = optional_positive_int("max_length", self.max_length)
        return self._trained.max_length if asked is None else asked

    def _keep(self, trained: Trained) -> None:
        self._trained, self._unmerged = trained, None
        self.history_ = trained.history
        self.report_ = trained.report
        self.random_state_ = trained.random_state
        self.n_iter_ = trained.n_iter


class ClassEstimator(SupervisedEstimator):
    """A classification estimator; fitted, it has ``classes_``."""

    @property
    def _classes(self) -> Classes:
        check_is_fitted(self)
        target = self._trained.target
        assert isinstance(target, Classes)
        return target

    def _keep(self, trained: Trained) -> None:
        super()._keep(trained)
        self.classes_ = self._classes.values
