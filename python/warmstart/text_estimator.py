"""`TextEstimator`: the base of estimators of texts, or pairs of texts."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.options import INFERENCE_PRECISIONS, check_compute
from warmstart.prepared import Prepared
from warmstart.scores import metric_name
from warmstart.supervised import SupervisedEstimator
from warmstart.text_runs import Learnt, prepare
from warmstart.texts import Texts, check_kind, encode, warn_unread
from warmstart.training import execute, outputs
from warmstart.weights import Weights


class TextEstimator(SupervisedEstimator):
    """An estimator with a head on pooled text vectors."""

    precision: str
    device: str
    verbose: bool
    default_metric: ClassVar[str]

    def _learn(
        self, texts: Texts, labels: Any, given: Backbone, backbone: Backbone, n_texts: int, weights: Weights | None
    ) -> Learnt:
        """Read the labels of the training set."""
        raise NotImplementedError

    def _check_metric(self) -> None:
        """Refuse a metric that does not exist."""
        raise NotImplementedError

    def _settle(self, X: Texts, y: Any, sample_weight: Any, eval_set: Any) -> Prepared:
        self._check_metric()

        def learn(given: Backbone, backbone: Backbone, n_texts: int, weights: Weights | None) -> Learnt:
            return self._learn(X, y, given, backbone, n_texts, weights)

        return prepare(self._settings(), X, y, sample_weight, eval_set, learn, self.default_metric)

    def _fit(self, X: Texts, y: Any, sample_weight: Any, eval_set: Any) -> None:
        """Train; an error that stopped the run is raised only after the trained model is stored."""
        run, metric = self._settle(X, y, sample_weight, eval_set), self._settings()["metric"]
        task, held_out = run.task, run.held_out
        run.check_memory()
        if held_out is not None:
            task.check_scored(metric, held_out.targets)

        def scorer(found: NDArray[np.float32], eval_loss: float) -> float:
            assert held_out is not None
            return task.score(metric, found, eval_loss, held_out.targets)

        def judge(found: NDArray[np.float32], facts: dict[str, Any]) -> Any:
            assert held_out is not None
            return task.report(found, held_out.targets, facts)

        trained, stopped = execute(run, metric_name(metric), scorer, judge, bool(self.verbose))
        self._keep(trained)
        if stopped is not None:
            raise stopped

    def _encode(self, texts: Texts) -> _core.Encodings:
        check_is_fitted(self)
        check_compute(self.precision, self.device, INFERENCE_PRECISIONS)
        check_kind(texts, self._trained.pairs)
        return encode(self._trained.model.backbone, texts, self._limit())

    def _to_evaluate(self, texts: Texts) -> _core.Encodings:
        encodings = self._encode(texts)
        if not len(encodings):
            raise ValueError("texts is empty; there is nothing to evaluate")
        return encodings

    def _outputs(self, texts: Texts) -> NDArray[np.float32]:
        return self._outputs_of(self._encode(texts), "predicting")

    def _outputs_of(self, encodings: _core.Encodings, description: str) -> NDArray[np.float32]:
        warn_unread(encodings)
        return outputs(self._trained.model, encodings, self.precision, self.verbose, description)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags
