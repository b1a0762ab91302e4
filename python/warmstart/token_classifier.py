"""`TokenClassifier`: a pretrained backbone that finds entities in texts, as a scikit-learn estimator."""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from warmstart.backbone import Backbone
from warmstart.classification import Classification
from warmstart.doubts import of_entities
from warmstart.entities import OUTSIDE, Entity, f1, in_scheme, split_tag
from warmstart.holding_out import hold_out
from warmstart.labels import Classes
from warmstart.opening import opened
from warmstart.optim import AdamW
from warmstart.options import INFERENCE_PRECISIONS, check_compute
from warmstart.policies import fraction_held_out
from warmstart.prepared import Prepared
from warmstart.preparing import fit_options, settle, smoothing
from warmstart.published import open_published
from warmstart.published_backbone import published_tags, with_published_head
from warmstart.report import Report
from warmstart.scores import metric_name, probabilities
from warmstart.strategy import Strategy
from warmstart.supervised import ClassEstimator
from warmstart.tagged import Windows
from warmstart.tagged_texts import TaggedTexts, TagMetric
from warmstart.texts import Texts
from warmstart.training import execute, outputs
from warmstart.warn import warn
from warmstart.weights import read_weights

METRICS = ("f1", "accuracy", "loss")


class TokenClassifier(ClassEstimator):
    """Find entities: tag the words of texts with BIO tags.

    A text is a str or a list of words. Texts longer than the model supports are split into overlapping windows; none is
    truncated. Words of lists are joined by spaces, and entities are given by their characters in that text. With
    byte-level tokenizers, as in GPT-2 and RoBERTa, the first word gets a space before it, too, also in the saved
    tokenizer.

    Parameters
    ----------
    backbone : Backbone, str or path
        The pretrained model to start from. It is never changed. A path, or the name of a repository of the Hugging Face
        hub, is opened by `fit`, as `Backbone.from_pretrained` opens it.
    strategy : Strategy, optional
        What is trained: `FullFineTuning`, `LinearProbing`, `TopLayers`, `Layers`, `BitFit`, `NormTuning`, `LoRA`,
        `MiSS`, or a sum of them; None means ``FullFineTuning()``.
    learning_rate : float, optional
        Peak learning rate, of the head and the last layer; None chooses one.
    optimizer : AdamW, optional
        Optimiser with weight decay, schedule and gradient clipping. None takes the strategy's default.
    label_smoothing : float
        Share of probability given to all classes alike, in [0, 1).
    epochs : int, optional
        Epochs over the training texts; None chooses by their number.
    max_steps : int, optional
        Optimiser steps to train for, instead of `epochs`.
    batch_size : int, optional
        Mean number of texts per batch; None is 16.
    batch_tokens : int or "auto"
        Tokens per batch, instead of `batch_size`. "auto" takes `batch_size` times the mean length of the training
        texts, at least the longest of them.
    accumulation_steps : int
        Batches per optimiser step.
    max_length : int, optional
        Maximum length of a window in tokens; None takes the model's maximum length.
    metric : {"f1", "accuracy", "loss"} or callable
        Metric that chooses the best weights on `eval_set`: F1 of entities, accuracy over words, or loss. A callable
        gets the true and the predicted tags of all texts, as lists of lists; higher is better.
    eval_every : int, optional
        Evaluate every so many optimiser steps instead of each epoch.
    validation_fraction : float, optional
        Hold out this part of the training set to evaluate on, labels in like shares, where `fit` gets no `eval_set`.
    early_stopping : bool
        Stop when evaluations no longer improve: after `patience` of them, of 3 if that is None; without `eval_set` and
        `validation_fraction` on a tenth of the training set, which is held out.
    patience : int, optional
        Stop after so many evaluations without improvement.
    keep : {"best", "last"}
        Weights to keep if there are evaluations: those of the best one, or the last.
    checkpoint_dir : str or path, optional
        Directory for checkpoints of a single run: clones in a search would share it. A run with the same data and
        settings as the checkpoint in it resumes there and ends with the weights and the history that it would have had,
        with its seed if ``random_state`` is None. A run with others is refused.
    checkpoint_every : int, optional
        Optimiser steps between checkpoints; None writes one only at the end, so a stopped run has none.
    precision : {"auto", "f32", "bf16", "int8"}
        Number format of matrix products; see `TextClassifier`.
    recompute : bool
        Compute each layer again in the backward pass: less memory, more time, the same weights.
    device : {"auto", "cpu"}
        Device to compute on.
    random_state : int, RandomState or None
        The same seed gives the same weights, byte for byte. None draws one and records it in ``random_state_``.
    verbose : bool
        Show a progress bar in a notebook or terminal.

    Attributes
    ----------
    classes_ : ndarray of str, shape (C,)
        The tags: ``O``, then ``B-`` and ``I-`` of each label.
    backbone_ : Backbone
        The backbone after training.
    history_ : History
        A row for each evaluation.
    report_ : Report
        Quality on `eval_set`, where there was one, and facts of the run.
    random_state_ : int
        The seed used.
    n_iter_ : int
        Optimiser steps done.

    Examples
    --------
    >>> tagger = TokenClassifier(backbone, epochs=1, random_state=0)
    >>> tagger = tagger.fit(["the good film", "it was bad"], [[(4, 8, "praise")], [(7, 10, "blame")]])
    >>> len(tagger.predict(["a good story"]))
    1
    """

    def __init__(
        self,
        backbone: Backbone | str | os.PathLike[str],
        *,
        strategy: Strategy | None = None,
        learning_rate: float | None = None,
        optimizer: AdamW | None = None,
        label_smoothing: float = 0.0,
        epochs: int | None = None,
        max_steps: int | None = None,
        batch_size: int | None = None,
        batch_tokens: int | str = "auto",
        accumulation_steps: int = 1,
        max_length: int | None = None,
        metric: TagMetric = "f1",
        eval_every: int | None = None,
        validation_fraction: float | None = None,
        early_stopping: bool = False,
        patience: int | None = None,
        keep: str = "best",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        precision: str = "auto",
        recompute: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = True,
    ) -> None:
        self.backbone = backbone
        self.strategy = strategy
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.accumulation_steps = accumulation_steps
        self.max_length = max_length
        self.metric = metric
        self.eval_every = eval_every
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.patience = patience
        self.keep = keep
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.precision = precision
        self.recompute = recompute
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        adapter: str | os.PathLike[str] | None = None,
        allow_other_base: bool = False,
        **params: Any,
    ) -> "TokenClassifier":
        """Open a published tagger of words with its head: it predicts as it is, and `fit` goes on from it.

        Parameters
        ----------
        path : str or path
            A directory of transformers whose class is ``...ForTokenClassification``, or a repository of the Hugging
            Face hub, as `Backbone.from_pretrained` takes them.
        revision, token
            As in `Backbone.from_pretrained`.
        adapter : str or path, optional
            A directory as PEFT or `save_adapter` write it: the adapter is put on the model in ``path``, whose own head
            is left out, together with the head that the adapter brings.
        allow_other_base : bool
            Whether the adapter may have been made on a model with other weights, if its files say on which.
        **params
            As in `TokenClassifier`; ``verbose`` also shows the progress bars of ``huggingface_hub``.

        Returns
        -------
        TokenClassifier
            A fitted tagger. ``classes_`` are its tags, in the order of its outputs; each word gets the tag of its first
            token. Tags that are not BIO tags are predicted, too, and neighbouring words with the same tag are one
            entity; `fit` and `score` accept such tags. If there is no ``B-`` tag of a label, as in IOB1, entities are
            learnt with ``I-`` alone.

        Raises
        ------
        FileNotFoundError
            It is not there.
        ValueError
            ``config.json`` names another kind of head, or has no labels.
        WeightsError
            The weights do not belong to such a head with as many outputs as there are labels.

        Warns
        -----
        UserWarning
            As `Backbone.from_pretrained` warns.

        Notes
        -----
        Labels are those of ``id2label``; without it ``LABEL_0`` and on, as in transformers, or the names of a
        ``label2id`` without ``id2label``, which transformers ignores: a warning says so. `fit` continues from the head
        if all labels are among its own, else a new head is trained, with a warning. ``backbone_`` does not include the
        head, so a model written by `save` and opened by ``load`` gets a new head, too; with ``from_pretrained`` of that
        directory `fit` continues from the saved head.
        """
        return open_published(cls, path, revision, token, adapter, allow_other_base, params, "tags")

    def fit(
        self, X: Texts, y: Any, *, sample_weight: Any = None, eval_set: tuple[Any, Any] | None = None
    ) -> "TokenClassifier":
        """Train on texts and the entities in them.

        Parameters
        ----------
        X : sequence of str, or of lists of str
            N texts, or N texts as lists of words.
        y : sequence
            For each text its entities: ``(start, end, label)`` in characters, mappings with these keys, or `Entity`;
            for lists of words also the BIO tag of each word.
        sample_weight : sequence of float, optional
            N weights: how much each text, and so each of its words, counts. A text of weight 0 is left out. `eval_set`
            and held-out texts are not weighted.
        eval_set : tuple, optional
            ``(X, y)`` to evaluate on, instead of `validation_fraction`; the weights with the best `metric` are kept.

        Returns
        -------
        TokenClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError, DataError
            Texts, labels or parameters do not fit; the estimator is as it was before.
        DeviceError
            The machine has less memory than the run would take, or cannot compute as asked.
        TrainingError
            The loss became NaN or infinite. The estimator is fitted with the last good weights.
        KeyboardInterrupt
            Interrupted. The estimator is fitted with the best weights so far, or, before the first step, as it was.

        Warns
        -----
        UserWarning
            Entities do not begin and end with a word, or tags are on words without tokens; texts consist mostly of
            words that the vocabulary lacks; a parameter has no effect.
        ConvergenceWarning
            The model is hardly better than guessing, or never predicts a tag; what may help is said.
        """
        run = self._prepare(X, y, sample_weight, eval_set)
        run.prepared.check_memory()
        held_out, classes, metric = run.held_out, run.classes, self.metric

        def scorer(found: NDArray[np.float32], eval_loss: float) -> float:
            assert held_out is not None
            return -eval_loss if metric == "loss" else held_out.score(metric, found, classes)

        def judge(found: NDArray[np.float32], facts: dict[str, Any]) -> Report:
            assert held_out is not None
            return held_out.report(found, classes, facts)

        trained, stopped = execute(run.prepared, metric_name(metric), scorer, judge, bool(self.verbose))
        self._keep(trained)
        if stopped is not None:
            raise stopped
        return self

    def _settle(self, X: Texts, y: Any, sample_weight: Any, eval_set: Any) -> Prepared:
        return self._prepare(X, y, sample_weight, eval_set).prepared

    def predict(self, X: Texts) -> list[list[Entity]]:
        """Return the entities of each text, in order, by their characters; for lists of words in the joined text."""
        windows, found = self._outputs(X)
        shares = probabilities(found, False)
        return windows.entities(self._tags(found), shares.max(axis=1, initial=0.0))

    def predict_tags(self, X: Texts) -> list[list[str]]:
        """Return the BIO tag of each word of each text.

        A word without tokens, such as a zero-width space, has the tag ``I-`` within an entity and ``O`` elsewhere.
        """
        windows, found = self._outputs(X)
        return windows.unit_tags(self._tags(found))

    def score(self, X: Texts, y: Any, sample_weight: Any = None) -> float:
        """Return the F1 over all entities, matched by position and label; for BIO tags it equals seqeval's.

        Words without tokens at the ends of entities do not count, because no model tags them; a warning gives their
        number.

        Parameters
        ----------
        X, y : sequence
            As in `fit`.
        sample_weight : sequence of float, optional
            N weights: how much the entities of each text count.
        """
        windows, found = self._outputs(X)
        weights = read_weights(sample_weight, len(windows))
        own = None if weights is None else weights.tolist()
        return f1(windows.read(y, known=self.classes_), windows.unit_tags(self._tags(found)), own)

    def evaluate(self, X: Texts, y: Any, sample_weight: Any = None) -> Report:
        """Measure the quality on other texts; entities count as in `score`.

        Parameters
        ----------
        X, y : sequence
            As in `fit`.
        sample_weight : sequence of float, optional
            N weights: how much each text counts, in every number of the report.

        Returns
        -------
        Report
            Its classes are the labels of entities; it has no facts of training.

        Raises
        ------
        DataError
            A label is not among those trained on.
        """
        windows, found = self._outputs(X)
        if not len(windows):
            raise ValueError("texts is empty; there is nothing to evaluate")
        weights = read_weights(sample_weight, len(windows))
        return TaggedTexts(windows, windows.read(y, known=self.classes_), weights).report(found, self._classes)

    def _tags(self, found: NDArray[np.float32]) -> list[str]:
        tags: list[str] = self.classes_[found.argmax(axis=1)].tolist()
        return tags

    def _outputs(self, texts: Texts) -> tuple[Windows, NDArray[np.float32]]:
        check_is_fitted(self)
        check_compute(self.precision, self.device, INFERENCE_PRECISIONS)
        model = self._trained.model
        windows = Windows.of(model.backbone, texts, self._limit())
        if not len(windows.spans):
            return windows, np.empty((0, model.n_outputs), dtype=np.float32)
        return windows, outputs(model, windows.encodings, self.precision, self.verbose, "predicting")

    def _prepare(self, X: Texts, y: Any, sample_weight: Any, eval_set: Any) -> "_Run":
        params = self._settings()
        # Words are trained with the space before them, the first word too; the trained backbone's tokenizer keeps it.
        given = opened(self.backbone, self.verbose)
        backbone = Backbone(given._inner.with_prefix_space())
        if not callable(self.metric) and self.metric not in METRICS:
            raise ValueError(
                f"metric must be one of {', '.join(map(repr, METRICS))} or a callable, got {self.metric!r}"
            )
        fraction = fraction_held_out(params, eval_set)
        options = fit_options(params, eval_set is not None or fraction is not None)
        known = published_tags(given)
        data = TaggedTexts.of(backbone, X, y, self.max_length, known=known)
        data = replace(data, weights=read_weights(sample_weight, len(data.tags)))
        found = sorted({split_tag(tag)[1] for tag in data.row_tags() if tag != OUTSIDE})
        if not found:
            raise ValueError("labels holds no entity; there is nothing to learn")
        tags = list(dict.fromkeys(data.row_tags(known)))
        merged = sorted({tag for tag in data.row_tags() if tag[:2] == "B-" and in_scheme(tag, known)[:2] == "I-"})
        if merged:
            warn(
                f"the model's own head has no {', '.join(merged[:5])}: they are learnt as 'I-', and neighbouring "
                "entities of a kind become one"
            )
        if not set(tags) <= set(known):
            tags = [OUTSIDE, *(f"{part}-{label}" for label in found for part in "BI")]
        classes, model = with_published_head(given, Classes(np.array(tags), False), of_words=True)
        held_out, rows = None, data.counted()
        if eval_set is not None:
            if not isinstance(eval_set, tuple | list) or len(eval_set) != 2:
                raise TypeError(f"eval_set must be a tuple (texts, labels), got {type(eval_set).__name__}")
            held_out = TaggedTexts.of(backbone, eval_set[0], eval_set[1], self.max_length, "eval_set ", known)
        elif fraction is not None:
            labels = [{tag[2:] for tag in data.tags[row]} for row in rows]
            rows, held_out_rows = (rows[part] for part in hold_out(labels, fraction, options["seed"]))
            held_out = replace(data.part(backbone, X, held_out_rows, self.max_length), weights=None)
        if len(rows) < len(data.tags):
            data = data.part(backbone, X, rows, self.max_length)
        eval_data = None if held_out is None else held_out.labelled(classes, "eval_set labels")
        to_train = data.labelled(classes, "labels")
        task = Classification(classes, of_words=True, label_smoothing=smoothing(params["label_smoothing"]))
        prepared = settle(params, options, backbone, task, to_train, eval_data, "f1", fraction=fraction, model=model)
        for doubt in of_entities(data.tags):
            warn(doubt)
        return _Run(prepared, classes, held_out)


@dataclass(frozen=True, eq=False)
class _Run:
    prepared: Prepared
    classes: Classes
    held_out: TaggedTexts | None
