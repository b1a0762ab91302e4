"""`TextRegressor`: a pretrained backbone with a head for real numbers, as a scikit-learn estimator."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from warmstart.backbone import Backbone
from warmstart.numbers import Numbers
from warmstart.optim import AdamW
from warmstart.options import finite, one_of
from warmstart.published import open_published
from warmstart.published_backbone import published_numbers
from warmstart.regression import LOSSES, METRICS, Regression
from warmstart.regression_report import RegressionReport
from warmstart.scores import Metric
from warmstart.strategy import Strategy
from warmstart.text_estimator import TextEstimator
from warmstart.text_runs import Learnt
from warmstart.texts import Texts
from warmstart.training import Trained
from warmstart.weights import Weights, read_weights


class TextRegressor(RegressorMixin, TextEstimator):  # type: ignore[misc]
    """Predict one or several real numbers of texts, or of pairs of texts, such as the similarity of two sentences.

    The two texts of a pair are read together, which is more exact than comparing the vector of each and takes some
    hundreds of pairs to learn. Without any, the cosine of ``backbone.embed`` of both is what there is to beat. Targets
    are learnt in standard deviations from their mean, of Huber and pinball loss in those that the quartiles give around
    the median; what is predicted is in their own units. A table's columns are told by their names.

    Parameters
    ----------
    backbone : Backbone, str or path
        The pretrained model to start from. It is never changed. A path, or the name of a repository of the Hugging Face
        hub, is opened by `fit`, as `Backbone.from_pretrained` opens it.
    loss : {"mse", "huber", "pinball"}
        The loss: mean squared error; Huber's, squared near the target and linear beyond `huber_delta`, so that outliers
        pull less; or the pinball loss of a `quantile`. Each target counts alike, in standard deviations.
    huber_delta : float, optional
        Where Huber's loss becomes linear, in the units of the targets; None is one standard deviation of each, as the
        quartiles give it, and of a published model that is not trained here 1.
    quantile : float, optional
        Quantile that the pinball loss predicts, in (0, 1): this share of texts lies below it; None is the median.
    strategy : Strategy, optional
        What is trained, as in `TextClassifier`; None means ``FullFineTuning()``. A `LinearProbing` of squared errors is
        solved for: ridge regression, its penalty chosen by leave-one-out.
    pooling : {"auto", "mean", "cls", "last", "max", "mean_sqrt_len", "weighted_mean"} or a list of them
        Pooling of token vectors into the head's input, as in `TextClassifier`.
    learning_rate : float, optional
        Peak learning rate, of the head and the last layer; None chooses one.
    optimizer : AdamW, optional
        Optimiser with weight decay, schedule and gradient clipping. None takes the strategy's default.
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
    metric : {"loss", "r2", "pearson", "spearman"} or callable
        Metric that chooses the best weights on `eval_set`, for several targets the mean over them; a callable gets
        ``(y_true, y_pred)``, higher is better.
    eval_every : int, optional
        Evaluate every so many optimiser steps instead of each epoch.
    validation_fraction : float, optional
        Hold out this part of the training set to evaluate on, where `fit` gets no `eval_set`.
    early_stopping : bool
        Stop when evaluations no longer improve: after `patience` of them, of 3 if that is None; without `eval_set` and
        `validation_fraction` on a tenth of the training set, which is held out.
    patience : int, optional
        Stop after so many evaluations without improvement.
    keep : {"best", "last"}
        Weights to keep if there are evaluations: those of the best one, or the last.
    checkpoint_dir : str or path, optional
        Directory for checkpoints of the run, as in `TextClassifier`.
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
    target_names_ : list of str
        Column names of the table of targets, else ``LABEL_0`` and on, as in transformers.
    backbone_ : Backbone
        The backbone after training.
    history_ : History
        A row for each evaluation.
    report_ : RegressionReport
        Quality on `eval_set`, where there was one, and facts of the run.
    random_state_ : int
        The seed used.
    n_iter_ : int
        Optimiser steps done.

    Examples
    --------
    >>> pairs = [("a good film", "a fine film"), ("a good film", "it was bad")]
    >>> model = TextRegressor(backbone, epochs=1, random_state=0).fit(pairs, [4.5, 1.0])
    >>> model.predict(pairs).shape
    (2,)
    """

    default_metric = "loss"

    def __init__(
        self,
        backbone: Backbone | str | os.PathLike[str],
        *,
        loss: str = "mse",
        huber_delta: float | None = None,
        quantile: float | None = None,
        strategy: Strategy | None = None,
        pooling: str | Sequence[str] = "auto",
        learning_rate: float | None = None,
        optimizer: AdamW | None = None,
        epochs: int | None = None,
        max_steps: int | None = None,
        batch_size: int | None = None,
        batch_tokens: int | str = "auto",
        accumulation_steps: int = 1,
        max_length: int | None = None,
        metric: Metric = "loss",
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
        self.loss = loss
        self.huber_delta = huber_delta
        self.quantile = quantile
        self.strategy = strategy
        self.pooling = pooling
        self.learning_rate = learning_rate
        self.optimizer = optimizer
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
    ) -> "TextRegressor":
        """Open a published regressor with its head: it predicts as it is, and `fit` goes on from it.

        Parameters
        ----------
        path : str or path
            A directory of transformers whose class is ``...ForSequenceClassification``, with ``problem_type``
            "regression" or with a single label and no ``problem_type``; or a repository of the Hugging Face hub.
        revision, token
            As `Backbone.from_pretrained` takes them.
        adapter, allow_other_base
            As in `TextClassifier.from_pretrained`.
        **params
            As in `TextRegressor`; ``verbose`` also shows the progress bars of ``huggingface_hub``.

        Returns
        -------
        TextRegressor
            A fitted regressor. It predicts the outputs unscaled, as transformers does.

        Raises
        ------
        FileNotFoundError
            It is not there.
        ValueError
            ``config.json`` names another kind of head.
        WeightsError
            The weights do not belong to such a head with as many outputs as there are labels.

        Warns
        -----
        UserWarning
            As `Backbone.from_pretrained` warns.

        Notes
        -----
        `fit` continues from the head if there are as many targets as it has outputs, of the same names where both have
        some, else a new head is trained, with a warning. ``backbone_`` does not include the head.
        """
        return open_published(cls, path, revision, token, adapter, allow_other_base, params, "numbers")

    def fit(
        self, X: Texts, y: Any, *, sample_weight: Any = None, eval_set: tuple[Any, Any] | None = None
    ) -> "TextRegressor":
        """Train on texts and numbers.

        Parameters
        ----------
        X : sequence of str or of pairs of str
            N texts, as `TextClassifier.fit` takes them.
        y : sequence of numbers, or matrix
            N numbers, which may be a table of one column; for several targets a matrix, a table or a list of lists
            ``[N, T]``.
        sample_weight : sequence of float, optional
            N weights: how much each text counts, in the loss and where a head is solved for. A text of weight 0 is left
            out. `eval_set` and held-out texts are not weighted.
        eval_set : tuple, optional
            ``(X, y)`` to evaluate on, instead of `validation_fraction`; the weights with the best `metric` are kept.

        Returns
        -------
        TextRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError, DataError
            Texts, numbers or parameters do not fit; the estimator is as it was before.
        DeviceError
            The machine has less memory than the run would take, or cannot compute as asked.
        TrainingError
            The loss became NaN or infinite. The estimator is fitted with the last good weights.
        KeyboardInterrupt
            Interrupted. The estimator is fitted with the best weights so far, or, before the first step, as it was.

        Warns
        -----
        UserWarning
            Texts were truncated, or are mostly words that the vocabulary lacks; a parameter has no effect.
        ConvergenceWarning
            The model is hardly better than guessing; what may help is said.
        """
        self._fit(X, y, sample_weight, eval_set)
        return self

    def predict(self, X: Texts) -> NDArray[np.float64]:
        """Return the number of each text, float64 ``[N]``; a matrix ``[N, T]`` if `fit` was given a matrix."""
        return self._numbers.shaped(self._outputs(X).astype(np.float64))

    def score(self, X: Texts, y: Any, sample_weight: Any = None) -> float:
        """Return R2, the share of explained variance; for several targets the mean over them.

        Parameters
        ----------
        X, y : sequence
            As in `fit`.
        sample_weight : sequence of float, optional
            N weights: how much each text counts.
        """
        found = self._outputs_of(self._to_evaluate(X), "predicting")
        true = self._numbers.read(y, len(found))
        return float(r2_score(true, found, sample_weight=read_weights(sample_weight, len(found))))

    def evaluate(self, X: Texts, y: Any, sample_weight: Any = None) -> RegressionReport:
        """Measure the quality on other texts.

        Parameters
        ----------
        X, y : sequence
            As in `fit`.
        sample_weight : sequence of float, optional
            N weights: how much each text counts, in every number of the report.

        Returns
        -------
        RegressionReport
            Without facts of training.
        """
        encodings, numbers = self._to_evaluate(X), self._numbers
        true = numbers.read(y, len(encodings))
        numbers.scaled(true)  # that they are not too far away
        weights = read_weights(sample_weight, len(encodings))
        found = self._outputs_of(encodings, "evaluating").astype(np.float64)
        outputs, targets = ((part - numbers.shift) / numbers.scale for part in (found, true))
        return self._task(numbers).report(outputs, targets, None, weights)

    @property
    def _numbers(self) -> Numbers:
        check_is_fitted(self)
        target = self._trained.target
        assert isinstance(target, Numbers)
        return target

    def _task(self, numbers: Numbers) -> Regression:
        kind = one_of("loss", self.loss, LOSSES)
        for name, of in (("huber_delta", "huber"), ("quantile", "pinball")):
            if getattr(self, name) is not None and kind != of:
                raise ValueError(f"{name}={getattr(self, name)} has no effect with loss={kind!r}; it is of loss={of!r}")
        delta = None if self.huber_delta is None else finite("huber_delta", self.huber_delta)
        quantile = 0.5 if self.quantile is None else finite("quantile", self.quantile)
        if delta is not None and delta <= 0:
            raise ValueError(f"huber_delta must be above 0, got {delta}")
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
        return Regression(numbers, kind, delta, quantile)

    def _check_metric(self) -> None:
        if not callable(self.metric):
            one_of("metric", self.metric, METRICS)

    def _learn(
        self, texts: Texts, labels: Any, given: Backbone, backbone: Backbone, n_texts: int, weights: Weights | None
    ) -> Learnt:
        has_bias, is_robust = backbone._inner.head_has_bias(False), self.loss != "mse"
        numbers, model = published_numbers(
            given, Numbers.learn(labels, n_texts, weights, has_bias, is_robust), self.pooling
        )
        task = self._task(numbers)
        return Learnt(numbers, None if model is None else task.unfolded(model), lambda _: task)

    def _keep(self, trained: Trained) -> None:
        super()._keep(trained)
        self.target_names_ = list(self._numbers.names)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
