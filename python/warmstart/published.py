"""Published classifiers, opened as fitted estimators."""

import os
from typing import Any, TypeVar

import numpy as np

from warmstart import _core
from warmstart.classifier_backbone import ClassifierBackbone
from warmstart.history import History
from warmstart.hub import fetched
from warmstart.labels import Classes
from warmstart.report import Report
from warmstart.scores import metric_name
from warmstart.supervised import SupervisedEstimator
from warmstart.training import Trained
from warmstart.warn import warn, warn_notes

Estimator = TypeVar("Estimator", bound=SupervisedEstimator)


def open_published(
    kind: type[Estimator],
    path: str | os.PathLike[str],
    revision: str | None,
    token: str | bool | None,
    params: dict[str, Any],
    of_words: bool,
) -> Estimator:
    """Return the estimator with the head of a published model; arguments and errors as those of ``from_pretrained``."""
    directory = fetched(path, revision, token, params.get("verbose", True))
    model, labels, multi_label, note = _core.Classifier.from_pretrained(directory, of_words)
    warn_notes(model.backbone)
    if note is not None:
        warn(note)
    if not of_words and params.setdefault("multi_label", multi_label) != multi_label:
        of_model = "any number of labels" if multi_label else "one label"
        raise ValueError(f"multi_label={params['multi_label']!r}: the model gives each text {of_model}; leave it out")
    classes = Classes(np.array(labels), multi_label)
    estimator = kind(ClassifierBackbone(model, classes, of_words), **params)
    history = History([], metric_name(estimator._settings()["metric"]))
    estimator._keep(Trained(model, classes, history, Report(classes=list(labels)), None, 0))
    return estimator
