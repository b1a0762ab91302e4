"""`TextClassifier`: a pretrained backbone with a classification head, as a scikit-learn estimator."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from warmstart.backbone import Backbone
from warmstart.classification import Classification
from warmstart.labels import Classes, is_unnamed_matrix
from warmstart.optim import AdamW
from warmstart.preparing import class_weights, smoothing
from warmstart.published import open_published
from warmstart.published_backbone import with_published_head
from warmstart.report import Report
from warmstart.scores import Metric, check_metric, predictions, probabilities
from warmstart.strategy import Strategy
from warmstart.supervised import ClassEstimator
from warmstart.text_estimator import TextEstimator
from warmstart.text_runs import Learnt
from warmstart.texts import Texts, are_pairs, refuse_labels_beside
from warmstart.weights import Weights, read_weights


class TextClassifier(ClassifierMixin, ClassEstimator, TextEstimator):  # type: ignore[misc]
    """Classify texts, or pairs of texts, into two or more classes or with any number of labels.

    Parameters
    ----------
    backbone : Backbone, str or path
        The pretrained model to start from. It is never changed. A path, or the name of a repository of the Hugging Face
        hub, is opened by `fit`, as `Backbone.from_pretrained` opens it.
    strategy : Strategy, optional
        What is trained: `FullFineTuning`, `LinearProbing`, `TopLayers`, `Layers`, `BitFit`, `NormTuning`, `LoRA`,
        `MiSS`, or a sum of them; None means ``FullFineTuning()``.
    pooling : {"auto", "mean", "cls", "last", "max", "mean_sqrt_len", "weighted_mean"} or a list of them
        Pooling of token vectors into the head's input; several are concatenated. "auto" follows the model directory:
        the pooling of sentence-transformers if it has one, else that of the family's classification class in
        transformers.
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
        Maximum length in tokens; longer texts are truncated. None takes the backbone's ``max_length`` in `fit`.
    multi_label : bool
        Each text has any number of labels: a 0/1 matrix ``[N, C]``, or such a table whose columns are named after the
        classes, or a list of labels for every text.
    class_weight : None, "balanced" or dict
        Weight of each class in the loss.
    metric : {"accuracy", "macro_f1", "loss"} or callable
        Metric that chooses the best weights on `eval_set`; a callable gets ``(y_true, y_pred)``, higher is better.
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
        Number format of matrix products; "auto" is bf16 where the processor has instructions for it, else f32. Weights,
        sums and the optimiser's state are float32 always. "int8" is for prediction alone: set it after `fit`.
    recompute : bool
        Keep only the input of each layer and compute the layer again in the backward pass: less memory, more time, the
        same weights.
    device : {"auto", "cpu"}
        Device to compute on.
    random_state : int, RandomState or None
        The same seed gives the same weights, byte for byte. None draws one and records it in ``random_state_``.
    verbose : bool
        Show a progress bar in a notebook or terminal.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The labels, sorted; of a table with named columns these names, in their order.
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
    >>> clf = TextClassifier(backbone, epochs=3, random_state=0)
    >>> clf = clf.fit(texts, labels, eval_set=(dev_texts, dev_labels))
    >>> len(clf.predict(["what is this about?"]))
    1
    >>> clf.history_.metric
    'accuracy'
    """

    default_metric = "accuracy"

    def __init__(
        self,
        backbone: Backbone | str | os.PathLike[str],
        *,
        strategy: Strategy | None = None,
        pooling: str | Sequence[str] = "auto",
        learning_rate: float | None = None,
        optimizer: AdamW | None = None,
        label_smoothing: float = 0.0,
        epochs: int | None = None,
        max_steps: int | None = None,
        batch_size: int | None = None,
        batch_tokens: int | str = "auto",
        accumulation_steps: int = 1,
        max_length: int | None = None,
        multi_label: bool = False,
        class_weight: str | dict[Any, float] | None = None,
        metric: Metric = "accuracy",
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
        self.pooling = pooling
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.accumulation_steps = accumulation_steps
        self.max_length = max_length
        self.multi_label = multi_label
        self.class_weight = class_weight
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
    ) -> "TextClassifier":
        """Open a published classifier of texts with its head: it predicts as it is, and `fit` goes on from it.

        Parameters
        ----------
        path : str or path
            A directory of transformers whose class is ``...ForSequenceClassification``, or a repository of the Hugging
            Face hub, as `Backbone.from_pretrained` takes them.
        revision, token
            As in `Backbone.from_pretrained`.
        adapter : str or path, optional
            A directory as PEFT or `save_adapter` write it: the adapter is put on the model in ``path``, whose own head
            is left out, together with the head that the adapter brings.
        allow_other_base : bool
            Whether the adapter may have been made on a model with other weights, if its files say on which.
        **params
            As in `TextClassifier`; ``verbose`` also shows the progress bars of ``huggingface_hub``.

        Returns
        -------
        TextClassifier
            A fitted classifier. ``classes_`` are its labels, sorted, or for multi-label in the order of its outputs;
            `multi_label` follows from its ``problem_type``.

        Raises
        ------
        FileNotFoundError
            It is not there.
        ValueError
            ``config.json`` names another kind of head, or has no class labels, as for a regression.
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
        return open_published(cls, path, revision, token, adapter, allow_other_base, params, "classes")

    def fit(
        self, X: Texts, y: Any, *, sample_weight: Any = None, eval_set: tuple[Any, Any] | None = None
    ) -> "TextClassifier":
        """Train on texts and labels.

        Parameters
        ----------
        X : sequence of str or of pairs of str
            N texts: a list, a NumPy array, a pandas or polars Series, an Arrow array, a ``datasets`` column.
        y : sequence of str, int or bool
            N labels, which may be a table of one column; for multi-label a 0/1 matrix ``[N, C]`` or N lists of labels.
            A pandas, polars or Arrow table as matrix is read by the names of its columns. Members of
            ``class Kind(str, Enum)`` are taken as their values.
        sample_weight : sequence of float, optional
            N weights: how much each text counts, in the loss and where a head is solved for. A text of weight 0 is left
            out. `eval_set` and held-out texts are not weighted.
        eval_set : tuple, optional
            ``(X, y)`` to evaluate on, instead of `validation_fraction`; the weights with the best `metric` are kept.

        Returns
        -------
        TextClassifier
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
            Texts were truncated, or are mostly words that the vocabulary lacks; a class has one text; a parameter has
            no effect.
        ConvergenceWarning
            The model is hardly better than guessing, or never predicts a class; what may help is said.
        """
        self._fit(X, y, sample_weight, eval_set)
        return self

    def _check_metric(self) -> None:
        check_metric(self.metric)

    def _learn(
        self, texts: Texts, labels: Any, given: Backbone, backbone: Backbone, n_texts: int, weights: Weights | None
    ) -> Learnt:
        classes = Classes.learn(labels, n_texts, bool(self.multi_label))
        by_place = classes.multi_label and is_unnamed_matrix(labels)
        classes, model = with_published_head(given, classes, False, self.pooling, by_place)
        share = smoothing(self.label_smoothing)
        if are_pairs(texts) and not classes.multi_label:
            refuse_labels_beside(texts, classes.read(labels, n_texts).tolist())

        def task(targets: Any) -> Classification:
            return Classification(classes, False, class_weights(self.class_weight, classes, targets), share)

        return Learnt(classes, model, task)

    def predict(self, X: Texts) -> NDArray[Any]:
        """Return the likeliest label of each text ``[N]``; for multi-label a 0/1 matrix ``[N, C]`` of int64."""
        scores = self._outputs(X)
        return self._classes.decode(predictions(scores, self._classes.multi_label))

    def predict_proba(self, X: Texts) -> NDArray[np.float64]:
        """Return the probability of each class, float64 ``[N, C]``; rows add up to 1 unless multi-label."""
        scores = self._outputs(X)
        return probabilities(scores, self._classes.multi_label)

    def decision_function(self, X: Texts) -> NDArray[np.float32]:
        """Return logits, float32 ``[N, C]``; of two classes the difference ``[N]``, above 0: ``classes_[1]``."""
        scores = self._outputs(X)
        if len(self.classes_) == 2 and not self._classes.multi_label:
            return np.asarray(scores[:, 1] - scores[:, 0])
        return scores

    def score(self, X: Texts, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; for multi-label the share of texts right in every class.

        Parameters
        ----------
        X : sequence
            N texts.
        y : sequence
            True labels, as in `fit`.
        sample_weight : sequence of float, optional
            N weights: how much each text counts.
        """
        predicted = self.predict(X)
        weights = read_weights(sample_weight, len(predicted))
        if self._classes.multi_label:
            truth = self._classes.encode(y, len(predicted)).astype(np.int64)
        else:
            truth = self._classes.read(y, len(predicted))
        return float(accuracy_score(truth, predicted, sample_weight=weights))

    def evaluate(self, X: Texts, y: Any, sample_weight: Any = None) -> Report:
        """Measure the quality on other texts.

        Parameters
        ----------
        X, y : sequence
            As in `fit`.
        sample_weight : sequence of float, optional
            N weights: how much each text counts, in every number of the report.

        Returns
        -------
        Report
            Without facts of training.

        Raises
        ------
        DataError
            A label is not among ``classes_``.
        """
        encodings = self._to_evaluate(X)
        targets = self._classes.encode(y, len(encodings))
        weights = read_weights(sample_weight, len(encodings))
        found = self._outputs_of(encodings, "evaluating")
        return Report.of_logits(found, targets, self._classes, sample_weight=weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = bool(self.multi_label)
        tags.classifier_tags.multi_label = bool(self.multi_label)
        return tags
