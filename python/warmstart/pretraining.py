"""A pretraining run before it starts: checked options, tokenised corpora, estimated memory."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.border import pretraining_options, training_options
from warmstart.corpus import open_corpus
from warmstart.doubts import PRETRAINING, of_rate, rates
from warmstart.language_backbone import Model
from warmstart.memory import MemoryEstimate, beside, check_fits
from warmstart.monitor import FitMonitor
from warmstart.options import check_compute, flag, optional_positive_int, positive_int
from warmstart.policies import fraction_held_out, kept, patience
from warmstart.samples import drawn
from warmstart.strategies import FullFineTuning, require_strategy
from warmstart.strategy import Strategy, UpdateRule
from warmstart.texts import warn_unknown
from warmstart.tokenizer import Tokenizer
from warmstart.warn import warn

RATE = 5e-5
"""Default peak learning rate of a model of which all parameters are trained further."""

Documents = tuple[_core.Corpus, int, int]
"""A corpus, the index of its first document, and the index after the last one."""

_SHORTEST = 64
_DOCUMENTS = 256
"""Number of documents that are checked for unknown words."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run before it starts: checked options and tokenised corpora."""

    model: Model
    options: dict[str, Any]
    train: Documents
    held_out: Documents | None
    sets_length: bool
    """Whether the user set `max_length`; else it is at most the number of tokens per batch."""

    def memory(self, **changed: Any) -> MemoryEstimate:
        """Estimate the peak of memory, with some options changed."""
        options = {**self.options, **changed}
        if not self.sets_length:
            options["max_length"] = min(options["max_length"], options["batch_tokens"])
        parts = _core.pretraining_memory(
            self.model, self.train, self.held_out, training_options(options), **pretraining_options(options)
        )
        return beside(self.model.n_parameters, parts)

    def checked_memory(self) -> MemoryEstimate:
        """Estimate the peak of memory; DeviceError if the machine has less."""
        needed, batch_tokens = self.memory(), self.options["batch_tokens"]
        least = self.options["max_length"] if self.sets_length else _SHORTEST
        check_fits(needed, batch_tokens, min(least, batch_tokens), self.memory)
        return needed

    def batches(self, evaluation: bool = False, **changed: Any) -> list[list[dict[str, NDArray[Any]]]]:
        """Return the batches of the run, with some options changed, as `_core.pretraining_batches` returns them."""
        options = {**self.options, **changed}
        training, own = training_options(options), pretraining_options(options)
        return _core.pretraining_batches(self.model.backbone, self.train, training, evaluation, **own)

    def fit(self, monitor: FitMonitor) -> tuple[Model | None, dict[str, Any], BaseException | None]:
        """Train; returns the result of `_core.pretrain`."""
        options, own = training_options(self.options), pretraining_options(self.options)
        return _core.pretrain(self.model, self.train, self.held_out, options, monitor, **own)


def prepare(
    model: Model, settings: dict[str, Any], corpus: Any, eval_set: Any, text_field: str, on_error: str
) -> Prepared:
    """Check the parameters of a `LanguageModel` and open its corpora, as `LanguageModel.fit` takes them.

    Parameters
    ----------
    model : _core.LanguageModel or _core.ReplacedDetector
        The model that training starts from.
    settings : dict
        The parameters, unchecked, with the resolved ``objective`` and the ``seed``.
    corpus, eval_set, text_field, on_error
        As `LanguageModel.fit` takes them.

    Raises
    ------
    TypeError, ValueError, DataError, DeviceError
        The arguments are of a wrong type, or do not fit each other or the machine.
    """
    fraction = fraction_held_out(settings, eval_set)
    options = _options(model, settings)

    tokenizer = Backbone(model.backbone).tokenizer

    def opened(source: Any) -> _core.Corpus:
        return open_corpus(
            source,
            tokenizer,
            cache_dir=settings["cache_dir"],
            text_field=text_field,
            on_error=on_error,
            verbose=settings["verbose"],
        )

    train = opened(corpus)
    for doubt in of_rate(*rates(options["rule"], PRETRAINING)):
        warn(doubt)
    _warn_unknown(train, tokenizer)
    first, held_out, eval_set = train.n_documents, None, eval_set if fraction is None else fraction
    if isinstance(eval_set, Real):
        if isinstance(eval_set, bool):
            raise TypeError(f"eval_set is {eval_set!r}; expected texts, a path, or the part of the corpus to hold out")
        first = train.held_out(float(eval_set))
        held_out = (train, first, train.n_documents)
    elif eval_set is not None:
        evaluation = opened(eval_set)
        held_out = (evaluation, 0, evaluation.n_documents)
    elif settings["patience"] is not None:
        raise ValueError(
            f"patience={settings['patience']} needs eval_set, texts to evaluate on, or validation_fraction=0.1 to hold "
            "out some of the corpus"
        )
    return Prepared(model, options, (train, 0, first), held_out, settings["max_length"] is not None)


def _warn_unknown(corpus: _core.Corpus, tokenizer: Tokenizer) -> None:
    """Warn if many of some documents consist mostly of unknown words."""
    documents = [corpus.ids(document) for document in drawn(corpus.n_documents, _DOCUMENTS).tolist()]
    unknown = tokenizer._inner.unknown_id
    if unknown is not None:
        warn_unknown(sum(bool(2 * np.count_nonzero(ids == unknown) > len(ids)) for ids in documents), len(documents))


def _options(model: Model, settings: dict[str, Any]) -> dict[str, Any]:
    check_compute(settings["precision"], settings["device"])
    batch_tokens = positive_int("batch_tokens", settings["batch_tokens"])
    max_length = optional_positive_int("max_length", settings["max_length"])
    if max_length is None:
        max_length = min(model.backbone.max_length, batch_tokens)
    elif max_length > batch_tokens:
        raise ValueError(
            f"max_length={max_length} is more than batch_tokens={batch_tokens}, which bounds a batch; "
            "give larger batches, or shorter sequences"
        )
    strategy, rate = require_strategy(settings["strategy"]), settings["learning_rate"]
    return {
        "rule": UpdateRule.of(strategy, settings["optimizer"], _default_rate(strategy) if rate is None else rate),
        "objective": settings["objective"].to_dict(),
        "epochs": positive_int("epochs", settings["epochs"]),
        "max_steps": optional_positive_int("max_steps", settings["max_steps"]),
        "batch_tokens": batch_tokens,
        "accumulation_steps": positive_int("accumulation_steps", settings["accumulation_steps"]),
        "max_length": max_length,
        "eval_every": optional_positive_int("eval_every", settings["eval_every"]),
        "patience": patience(settings),
        "seed": settings["seed"],
        "precision": settings["precision"],
        "recompute": flag("recompute", settings["recompute"]),
        **kept(settings),
    }


def _default_rate(strategy: Strategy) -> float:
    """Return the default peak learning rate: a new head on a frozen backbone learns as fast as that of a task."""
    return strategy.rate if strategy.is_of_head_alone else RATE * strategy.rate / FullFineTuning.rate
