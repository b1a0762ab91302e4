"""`LanguageModel`: a backbone with a language model head, for pretraining and inference."""

import os
import sys
from typing import Any

import numpy as np

from warmstart import _core
from warmstart.asking import Asking, refuse_labels
from warmstart.backbone import Backbone
from warmstart.beginning import Beginning, begin, with_head
from warmstart.doubts import of_pretraining
from warmstart.estimator import TrainedEstimator
from warmstart.history import History
from warmstart.hub import fetched
from warmstart.language_backbone import LanguageBackbone
from warmstart.memory import MemoryEstimate
from warmstart.monitor import FitMonitor, tell_finished
from warmstart.objectives import MaskedLM, Objective, ReplacedTokenDetection
from warmstart.older import language_model_of_version_2
from warmstart.optim import AdamW
from warmstart.options import INFERENCE_PRECISIONS, MAX_SHARD_SIZE, byte_count, check_compute, seed_of_run
from warmstart.pretraining import Prepared, prepare
from warmstart.saving import save_language_model
from warmstart.strategy import Strategy
from warmstart.warn import warn, warn_unlearnt


class LanguageModel(Asking, TrainedEstimator):
    """A language model, for training on a corpus and for inference.

    Parameters
    ----------
    backbone : Backbone, str or path
        The model to start from; it is never changed. For a `Backbone` a new head is made, except for weights that it
        shares with the embeddings. For a directory, a GGUF file or a repository of the hub the head of the checkpoint
        is kept, and a warning says so if it has none. The heads of `from_pretrained` and of another model's
        ``backbone_`` are kept, too.
    objective : MaskedLM, CausalLM, PermutationLM or ReplacedTokenDetection, optional
        The training objective; None takes the one for which the backbone is made.
    strategy : Strategy, optional
        What is trained, as in `TextClassifier`; None means ``FullFineTuning()``.
    learning_rate : float, optional
        Peak learning rate; None takes 5e-5, or 1e-2 for a new head on a frozen backbone. From scratch, 3e-4 to 1e-3 are
        usual.
    optimizer : AdamW, optional
        Optimiser with weight decay, schedule and gradient clipping. None takes the strategy's default.
    epochs : int
        Epochs over the corpus.
    max_steps : int, optional
        Optimiser steps to train for, instead of `epochs`.
    batch_tokens : int
        Tokens per batch, which bound the memory of a step.
    accumulation_steps : int
        Batches per optimiser step.
    max_length : int, optional
        Maximum sequence length in tokens, special ones included, at most `batch_tokens`; longer documents are split.
        None takes the model's maximum length, or `batch_tokens` if that is less.
    eval_every : int, optional
        Evaluate every so many optimiser steps instead of each epoch.
    validation_fraction : float, optional
        Hold out this part of the corpus' tokens, from its end, to evaluate on, where `fit` gets no `eval_set`.
    early_stopping : bool
        Stop when evaluations no longer improve: after `patience` of them, of 3 if that is None; without `eval_set` and
        `validation_fraction` on a tenth of the corpus, which is held out.
    patience : int, optional
        Stop after so many evaluations without improvement.
    keep : {"best", "last"}
        Weights to keep if there are evaluations: those of the best one, or the last.
    precision : {"auto", "f32", "bf16"}
        Number format of matrix products; weights, sums and the optimiser's state are float32 always.
    recompute : bool
        Compute each layer again in the backward pass: less memory, more time, the same weights.
    device : {"auto", "cpu"}
        Device to compute on.
    random_state : int, RandomState or None
        The same seed gives the same weights, byte for byte. None draws one and records it in ``random_state_``.
    checkpoint_dir : str or path, optional
        Directory for checkpoints. A run with the same weights and settings as the checkpoint in it resumes there, and
        ends with the weights and the history that it would have had; a finished run is just loaded. Its seed is used if
        ``random_state`` is None. A checkpoint of another run is refused, and so is one of an older version, which the
        error names.
    checkpoint_every : int, optional
        Optimiser steps between checkpoints; None writes one only at the end, so a stopped run has none.
    cache_dir : str or path, optional
        Directory of tokenised corpora; None takes ``WARMSTART_CACHE``, else ``~/.cache/warmstart``.
    verbose : bool
        Show a progress bar, and before it the memory that the run will take.

    Attributes
    ----------
    backbone_ : Backbone
        The backbone after training, with its head: a `LanguageModel` of it trains further. Before `fit` the model that
        training starts from.
    objective_ : MaskedLM, CausalLM, PermutationLM or ReplacedTokenDetection
        The objective of the training.
    history_ : History
        A row for each evaluation, after `fit`, including those before a resumed checkpoint.
    random_state_ : int
        The seed, after `fit`.
    n_iter_ : int
        Optimiser steps done, after `fit`.

    Examples
    --------
    >>> model = LanguageModel(backbone, max_steps=2, random_state=0, verbose=False)
    >>> model.fit(["a few texts", "or very many"]).perplexity(["a text"]) > 1
    True
    """

    _limit: int | None = None
    _fitted: LanguageBackbone | None = None
    _drawn: tuple[tuple[Any, ...], int] | None = None
    """The seed of the next `fit`, with the parameters on which it depends."""
    _begun: Beginning | None = None
    """The model used for inference before the first `fit`, made with this seed."""

    def __init__(
        self,
        backbone: Backbone | str | os.PathLike[str],
        objective: Objective | None = None,
        *,
        strategy: Strategy | None = None,
        learning_rate: float | None = None,
        optimizer: AdamW | None = None,
        epochs: int = 1,
        max_steps: int | None = None,
        batch_tokens: int = 4096,
        accumulation_steps: int = 1,
        max_length: int | None = None,
        eval_every: int | None = None,
        validation_fraction: float | None = None,
        early_stopping: bool = False,
        patience: int | None = None,
        keep: str = "best",
        precision: str = "auto",
        recompute: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        verbose: bool = True,
    ) -> None:
        self.backbone = backbone
        self.objective = objective
        self.strategy = strategy
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_tokens = batch_tokens
        self.accumulation_steps = accumulation_steps
        self.max_length = max_length
        self.eval_every = eval_every
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.patience = patience
        self.keep = keep
        self.precision = precision
        self.recompute = recompute
        self.device = device
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.cache_dir = cache_dir
        self.verbose = verbose

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        objective: Objective | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        **params: Any,
    ) -> "LanguageModel":
        """Open a Hugging Face directory, a GGUF file or a repository of the hub with its language model's head.

        Parameters
        ----------
        path, revision, token
            As `Backbone.from_pretrained` takes them.
        objective, **params
            As in `LanguageModel`; ``verbose`` also shows the progress bars of ``huggingface_hub``.

        Raises
        ------
        FileNotFoundError
            It is not there.
        WeightsError
            The checkpoint has no such head; ``LanguageModel(Backbone.from_pretrained(path))`` begins a new one.

        Warns
        -----
        UserWarning
            As `Backbone.from_pretrained` warns.
        """
        model = with_head(fetched(path, revision, token, params.get("verbose", True)))
        return cls(model, objective, **params)

    @property
    def backbone_(self) -> Backbone:
        """The backbone after training, with its head; before `fit` the model that training starts from."""
        return self._now()

    @property
    def generator(self) -> "LanguageModel":
        """The generator that was trained beside a detector of replaced tokens.

        Raises
        ------
        AttributeError
            The objective has none.
        """
        now = self._now()
        if not isinstance(now._model, _core.ReplacedDetector):
            raise AttributeError(f"{self._objective()!r} trains no generator")
        objective = self._objective()
        assert isinstance(objective, ReplacedTokenDetection)
        generator = LanguageBackbone(now._model.generator, now._is_new)
        return LanguageModel(generator, MaskedLM(rate=objective.rate), verbose=self.verbose)

    @property
    def n_parameters(self) -> int:
        """Number of values of all parameters, head included."""
        return self._now()._model.n_parameters

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        eval_set: Any = None,
        text_field: str = "text",
        on_error: str = "stop",
    ) -> "LanguageModel":
        """Train on a corpus, starting from ``backbone``; to train further, give another model this one's ``backbone_``.

        Parameters
        ----------
        X : iterable of str, path, or list of paths
            The corpus. Texts, each a document; or files: ``.txt``, whose documents are separated by blank lines,
            ``.jsonl``, ``.parquet``. Tokenised once into a cache.
        y : None
            A language model learns from the texts alone.
        eval_set : the same, or float, optional
            Texts to evaluate on, instead of `validation_fraction`; or such a part itself.
        text_field : str
            The field or column of the text in ``.jsonl`` and ``.parquet``.
        on_error : {"stop", "skip"}
            What to do with lines that cannot be read.

        Returns
        -------
        LanguageModel
            Itself.

        Raises
        ------
        DataError
            The corpus is empty, a line of it cannot be read, or its sequences are too short for the objective.
        TrainingError
            The loss is not finite; the weights go back to the last evaluation. Or a checkpoint is of another run.
        ValueError
            A parameter is out of its range, or the backbone cannot serve the objective: which it can is said.
        KeyboardInterrupt
            Ctrl-C; what was learnt so far is kept.
        DeviceError
            The machine has less memory than the run takes; the message says what helps.

        Warns
        -----
        UserWarning
            Lines were left out, or documents are mostly words that the vocabulary lacks.
        ConvergenceWarning
            The loss is hardly below that of guessing; what may help is said.
        """
        refuse_labels(y)
        objective, run = self._prepare(X, eval_set, text_field, on_error)
        needed = run.checked_memory()
        if self.verbose:
            print(needed.line(), file=sys.stderr)
        if isinstance(run.model, _core.ReplacedDetector):
            metric, scorer = "loss", lambda _, loss: -loss
        else:
            metric, scorer = "perplexity", lambda _, loss: float(np.exp(min(loss, 80.0)))
        monitor = FitMonitor(metric, scorer, self.verbose)
        try:
            model, facts, stopped = run.fit(monitor)
        finally:
            monitor.close()
        if model is None:
            raise stopped or _core.TrainingError("the run ended before its first step was done")
        self._fitted, self._drawn = LanguageBackbone(model), None
        self.objective_ = objective
        self.history_: History = History.of_run(facts.pop("history"), metric, facts["best_step"])
        self.random_state_: int = run.options["seed"]
        self.n_iter_: int = facts["steps"]
        if stopped is not None:
            raise stopped
        if facts["was_finished"]:
            tell_finished(self.checkpoint_dir, facts["steps"])
        if metric == "perplexity" and self.history_.rows:
            last, vocabulary = self.history_.rows[-1]["loss"], model.backbone.vocab_size
            for doubt in of_pretraining(last, vocabulary, run.options, self.n_iter_):
                warn_unlearnt(doubt)
        return self

    def estimate_memory(
        self, X: Any, y: Any = None, *, eval_set: Any = None, text_field: str = "text", on_error: str = "stop"
    ) -> MemoryEstimate:
        """Estimate the peak of the process's memory during ``fit`` with the same arguments, without training.

        Parameters
        ----------
        X, y, eval_set, text_field, on_error
            As in `fit`; a corpus that is not in the cache is tokenised.

        Returns
        -------
        MemoryEstimate
            In bytes; shows itself as a table.

        Raises
        ------
        DataError, ValueError
            As `fit` raises them for its arguments.

        Examples
        --------
        >>> LanguageModel(backbone, verbose=False).estimate_memory(texts).total > 0
        True
        """
        refuse_labels(y)
        return self._prepare(X, eval_set, text_field, on_error)[1].memory()

    def save(self, path: str | os.PathLike[str], *, max_shard_size: int | str = MAX_SHARD_SIZE) -> None:
        """Write a Hugging Face directory that `load`, `from_pretrained` and transformers read.

        Parameters
        ----------
        path : str or path
            The directory.
        max_shard_size : int or str
            Weights of more bytes than this, as in ``"200MB"``, become several files with an index.

        Raises
        ------
        OSError
            The directory cannot be written; an older save there survives.
        """
        n_bytes = byte_count("max_shard_size", max_shard_size)
        save_language_model(self, self._now()._model, self._objective(), self._limit, os.fspath(path), n_bytes)

    def _prepare(self, X: Any, eval_set: Any, text_field: str, on_error: str) -> tuple[Objective, Prepared]:
        """Return the objective, and the run of `fit` with these arguments before it starts."""
        # A path is opened again, because there may be another model by now.
        self._begun = None
        begun = begin(self.backbone, self.objective, self._seed(), self.verbose)
        settings = self._settings() | {"seed": begun.seed, "objective": begun.objective}
        return begun.objective, prepare(begun.backbone._model, settings, X, eval_set, text_field, on_error)

    def _now(self) -> LanguageBackbone:
        """Return the fitted model, or before `fit` the model that training starts from, the same each time."""
        return self._begin().backbone if self._fitted is None else self._fitted

    def _seed(self) -> int:
        """Return the seed of the next `fit`; a drawn seed stays the same unless the parameters change."""
        of = (self.backbone, self.objective, self.random_state, self.checkpoint_dir)
        if self._drawn is None or any(a is not b for a, b in zip(of, self._drawn[0], strict=True)):
            self._drawn, self._begun = (of, seed_of_run(self.random_state, self.checkpoint_dir)), None
        return self._drawn[1]

    def _begin(self) -> Beginning:
        """Return the model that the first `fit` starts from; it stays the same unless the parameters change."""
        seed = self._seed()
        if self._begun is None:
            self._begun = begin(self.backbone, self.objective, seed, self.verbose)
        return self._begun

    def _objective(self) -> Objective:
        """Return the objective that was trained, or before `fit` that of the next run."""
        return self._begin().objective if self._fitted is None else self.objective_

    def _asked(self) -> _core.LanguageModel:
        check_compute(self.precision, self.device, INFERENCE_PRECISIONS)
        now = self._now()
        if isinstance(now._model, _core.ReplacedDetector):
            raise ValueError("a detector of replaced tokens gives no probabilities of tokens; ask its .generator")
        if now._is_new:
            warn(
                "this language model is untrained: its head has random weights, and so has what it says; fit(corpus) "
                "trains it, and LanguageModel.from_pretrained(path) opens one with the head of a checkpoint"
            )
        return now._model

    def __getstate__(self) -> dict[str, Any]:
        # The initial model is made again from the parameters and the seed.
        return {name: value for name, value in self.__dict__.items() if name != "_begun"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(language_model_of_version_2(state))

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator

        tags = BaseEstimator().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags
