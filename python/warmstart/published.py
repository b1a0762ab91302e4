"""Published classifiers, opened as fitted estimators."""

import os
from typing import Any, TypeVar

import numpy as np

from warmstart import _core
from warmstart.classifier_backbone import ClassifierBackbone
from warmstart.history import History
from warmstart.hub import fetched
from warmstart.labels import Classes, Label
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
    outputs: str,
) -> Estimator:
    """Return the estimator with the head of a published model; `outputs` are "classes" or "tags".

    Other arguments and errors are those of ``from_pretrained``.
    """
    directory = fetched(path, revision, token, params.get("verbose", True))
    if params.get("pooling", "auto") != "auto":
        raise ValueError(
            f"pooling={params['pooling']!r}: the head of a published model takes the vectors it was trained on; leave "
            "it out, or give TextClassifier a Backbone.from_pretrained(path) to begin a new head"
        )
    model, names, are_numbers, note = _core.TaskModel.from_pretrained(directory, outputs)
    multi_label, of_words = model.kind == "indicators", outputs == "tags"
    warn_notes(model.backbone)
    if note is not None:
        warn(note)
    if not of_words and params.setdefault("multi_label", multi_label) != multi_label:
        of_model = "any number of labels" if multi_label else "one label"
        raise ValueError(f"multi_label={params['multi_label']!r}: the model gives each text {of_model}; leave it out")
    labels: list[Label] = [int(name) for name in names] if are_numbers and not of_words else list(names)
    classes = Classes(np.array(labels), multi_label)
    estimator = kind(ClassifierBackbone(model, classes, of_words), **params)
    history = History([], metric_name(estimator._settings()["metric"]))
    estimator._keep(Trained(model, classes, history, Report(classes=labels), None, 0))
    return estimator
