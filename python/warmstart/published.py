"""Published models, opened with their heads as fitted estimators."""

import os
from typing import Any, TypeVar

import numpy as np

from warmstart import _core
from warmstart.history import History
from warmstart.hub import fetched
from warmstart.labels import Classes, Label
from warmstart.numbers import Numbers
from warmstart.options import flag
from warmstart.published_backbone import PublishedBackbone
from warmstart.scores import metric_name
from warmstart.supervised import SupervisedEstimator
from warmstart.tasks import Target, blank_report
from warmstart.training import Trained
from warmstart.warn import warn, warn_notes

Estimator = TypeVar("Estimator", bound=SupervisedEstimator)


def open_published(
    kind: type[Estimator],
    path: str | os.PathLike[str],
    revision: str | None,
    token: str | bool | None,
    adapter: str | os.PathLike[str] | None,
    allow_other_base: bool,
    params: dict[str, Any],
    outputs: str,
) -> Estimator:
    """Return an estimator with the head of a published model; `outputs` is "classes", "tags" or "numbers".

    Other arguments and errors are those of ``from_pretrained``.
    """
    directory = fetched(path, revision, token, params.get("verbose", True))
    if params.get("pooling", "auto") != "auto":
        raise ValueError(
            f"pooling={params['pooling']!r}: the head of a published model takes the vectors it was trained on; leave "
            "it out, or give the estimator a Backbone.from_pretrained(path) to begin a new head"
        )
    allow_other_base = flag("allow_other_base", allow_other_base)
    max_length = None
    if adapter is None:
        opened = _core.TaskModel.from_pretrained(directory, outputs)
    else:
        base = _core.Backbone.from_pretrained(directory)
        opened, max_length = _core.TaskModel.from_adapter(base, os.fspath(adapter), outputs, allow_other_base)
    model, names, are_numbers, note = opened
    warn_notes(model.backbone)
    if note is not None:
        warn(note)
    if outputs == "numbers":
        return _fitted(kind, model, Numbers.as_they_are(names, len(names) > 1), max_length, params)
    multi_label = model.kind == "indicators"
    if outputs == "classes" and params.setdefault("multi_label", multi_label) != multi_label:
        of_model = "any number of labels" if multi_label else "one label"
        raise ValueError(f"multi_label={params['multi_label']!r}: the model gives each text {of_model}; leave it out")
    labels: list[Label] = [int(name) for name in names] if are_numbers and outputs == "classes" else list(names)
    return _fitted(kind, model, Classes(np.array(labels), multi_label), max_length, params)


def _fitted(
    kind: type[Estimator], model: _core.TaskModel, target: Target, max_length: int | None, params: dict[str, Any]
) -> Estimator:
    estimator = kind(PublishedBackbone(model, target), **params)
    history = History([], metric_name(estimator._settings()["metric"]))
    estimator._keep(Trained(model, target, history, blank_report(target), None, 0, max_length))
    return estimator
