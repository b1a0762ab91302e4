"""From texts and labels to a run that can start."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.holding_out import hold_out
from warmstart.opening import opened, with_pooling
from warmstart.options import optional_positive_int
from warmstart.policies import fraction_held_out
from warmstart.prepared import Labelled, Prepared
from warmstart.preparing import fit_options, settle
from warmstart.tasks import Target, Task
from warmstart.texts import Texts, are_pairs, check_kind, encode
from warmstart.weights import Weights, read_weights


@dataclass(frozen=True, eq=False)
class Learnt:
    """The target and task that were learnt from the labels of a training set."""

    target: Target
    """The classes or numbers that outputs stand for."""
    model: _core.TaskModel | None
    """The model whose head training continues from; None for a new head."""
    task: Callable[[Any], Task]
    """Makes the task from the encoded labels of the training set."""


def prepare(
    params: dict[str, Any],
    texts: Texts,
    labels: Any,
    sample_weight: Any,
    eval_set: Any,
    learn: Callable[[Backbone, Backbone, int, Weights | None], Learnt],
    default_metric: str,
) -> Prepared:
    """Check parameters and encode data.

    Parameters
    ----------
    params : dict
        The parameters of the estimator, unchecked.
    texts, labels, sample_weight, eval_set
        As ``fit`` takes them.
    learn : callable
        ``learn(given, backbone, n_texts, weights)`` reads the labels of ``n_texts`` texts; `backbone` is the one that
        was given with the pooling that was asked for.
    default_metric : str
        Metric for which there is no warning that it has no effect.

    Raises
    ------
    TypeError, ValueError, DataError, DeviceError
        The arguments are of a wrong type, or do not fit each other or the machine.
    """
    given = opened(params["backbone"], params["verbose"])
    backbone = with_pooling(given, params["pooling"])
    fraction = fraction_held_out(params, eval_set)
    options = fit_options(params, eval_set is not None or fraction is not None)
    max_length = optional_positive_int("max_length", params["max_length"])
    encodings = encode(backbone._inner, texts, max_length)
    if not len(encodings):
        raise ValueError("texts is empty; at least two texts with different labels are needed to train")
    weights = read_weights(sample_weight, len(encodings))
    learnt = learn(given, backbone, len(encodings), weights)
    data = _weighted(Labelled(encodings, learnt.target.encode(labels, len(encodings))), weights)
    pairs = are_pairs(texts)
    held_out = None if eval_set is None else _eval_data(backbone, eval_set, learnt.target, max_length, pairs)
    if fraction is not None:
        sets = learnt.target.label_sets(data.targets)
        data, held_out = (data.select(rows) for rows in hold_out(sets, fraction, options["seed"]))
    task = learnt.task(data.targets)
    return settle(params, options, backbone, task, data, held_out, default_metric, pairs, fraction, learnt.model)


def _eval_data(
    backbone: Backbone, eval_set: Any, target: Target, max_length: int | None, pairs: bool | None
) -> Labelled:
    if not isinstance(eval_set, tuple | list) or len(eval_set) != 2:
        raise TypeError(f"eval_set must be a tuple (texts, labels), got {type(eval_set).__name__}")
    check_kind(eval_set[0], pairs, "eval_set texts")
    encodings = encode(backbone._inner, eval_set[0], max_length, "eval_set texts")
    if not len(encodings):
        raise ValueError("eval_set holds no texts; pass eval_set=None to train without evaluation")
    return Labelled(encodings, target.encode(eval_set[1], len(encodings), "eval_set labels"))


def _weighted(data: Labelled, weights: Weights | None) -> Labelled:
    """Return texts with their weights ``[N]``, without texts of weight 0; equal weights are dropped."""
    if weights is None:
        return data
    return Labelled(data.encodings, data.targets, weights).select(np.flatnonzero(weights))
