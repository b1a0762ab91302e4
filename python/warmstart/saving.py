"""Save estimators to directories: ``warmstart.json`` beside a Hugging Face model, never a pickle."""

import json
from inspect import signature
from typing import Any

import numpy as np

from warmstart import _core
from warmstart.estimator import TrainedEstimator
from warmstart.history import History
from warmstart.language_backbone import Model
from warmstart.objectives import Objective
from warmstart.scores import metric_name
from warmstart.strategies import require_strategy
from warmstart.strategy import require_optimizer
from warmstart.training import Trained
from warmstart.warn import warn

FORMAT_VERSION = 3
METADATA_FILE = "warmstart.json"

LEFT_OUT = ("backbone", "objective", "checkpoint_dir", "checkpoint_every", "cache_dir")
"""Parameters that are stored elsewhere, or that are paths on this machine."""


def save_estimator(estimator: TrainedEstimator, trained: Trained, path: str, max_shard_bytes: int) -> None:
    """Write a fitted estimator.

    Parameters
    ----------
    estimator : SupervisedEstimator
        The estimator whose parameters are stored.
    trained : Trained
        Its fitted state.
    path : str
        Path of the directory.
    max_shard_bytes : int
        Maximum size of a weight file in bytes.

    Warns
    -----
    UserWarning
        `metric` is a callable, which cannot be written.
    """
    metadata = {
        "format_version": FORMAT_VERSION,
        "warmstart_version": _core.__version__,
        "estimator": estimator._of_package().__name__,
        **_resolved(trained.model.backbone, trained.max_length, trained.model.pooling),
        "params": _params_to_json(estimator, trained.random_state),
        **trained.target.metadata(),
        "pairs": trained.pairs,
        "random_state": trained.random_state,
        "n_iter": trained.n_iter,
        "history": _history_to_json(trained.history),
        "report": trained.report.to_dict(),
    }
    text = json.dumps(metadata, default=_plain, indent=1)
    trained.model.save(path, trained.target.names, text, max_shard_bytes)


def save_language_model(
    model: TrainedEstimator,
    inner: Model,
    objective: Objective,
    max_length: int | None,
    path: str,
    max_shard_bytes: int,
) -> None:
    """Write a language model.

    Parameters
    ----------
    model : LanguageModel
        The language model whose parameters and history are stored.
    inner : _core.LanguageModel or _core.ReplacedDetector
        The core model in its current state.
    objective : Objective
        Its training objective.
    max_length : int, optional
        Maximum length in tokens, if it differs from the model's.
    path : str
        Path of the directory.
    max_shard_bytes : int
        Maximum size of a weight file in bytes.
    """
    history = getattr(model, "history_", None)
    seed = getattr(model, "random_state_", model.random_state)
    metadata = {
        "format_version": FORMAT_VERSION,
        "warmstart_version": _core.__version__,
        "estimator": model._of_package().__name__,
        **_resolved(inner.backbone, max_length, inner.backbone.default_pooling),
        "params": _params_to_json(model, seed),
        "objective": objective.to_dict(),
        "random_state": seed if isinstance(seed, int | np.integer) else None,
        "n_iter": getattr(model, "n_iter_", None),
        "history": None if history is None else _history_to_json(history),
    }
    inner.save(path, json.dumps(metadata, default=_plain, indent=1), max_shard_bytes)


def _history_to_json(history: History) -> dict[str, Any]:
    return {"rows": history.rows, "metric": history.metric, "best_step": history.best_step}


def _resolved(backbone: _core.Backbone, max_length: int | None, pooling: list[str]) -> dict[str, Any]:
    """Return the settings that follow from the directory and this version's defaults, so that they stay the same."""
    return {
        "max_length": backbone.max_length if max_length is None else max_length,
        "pooling": pooling,
        "normalize": backbone.normalizes,
    }


def _params_to_json(estimator: TrainedEstimator, seed: Any) -> dict[str, Any]:
    params: dict[str, Any] = estimator._settings()
    params = {name: value for name, value in params.items() if name not in LEFT_OUT}
    strategy = require_strategy(params["strategy"])
    optimizer = require_optimizer(params["optimizer"], strategy)
    for name, part in (("strategy", strategy), ("optimizer", optimizer)):
        params[name] = None if params[name] is None else part.to_dict()
    if isinstance(params.get("class_weight"), dict):
        params["class_weight"] = [[label, weight] for label, weight in params["class_weight"].items()]
    if isinstance(params["random_state"], np.random.RandomState | np.random.Generator):
        params["random_state"] = seed if isinstance(seed, int | np.integer) else None
    if callable(params.get("metric")):
        default = signature(estimator._of_package()).parameters["metric"].default
        warn(
            f"metric={metric_name(params['metric'])} is a function, which is not saved; the loaded estimator will have "
            f"metric={default!r}",
        )
        params["metric"] = default
    return params


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be written to {METADATA_FILE}")
