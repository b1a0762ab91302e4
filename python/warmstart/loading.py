"""Estimators from the directories that `save` wrote."""

import json
import os
from pathlib import Path
from typing import Any

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.classifier import TextClassifier
from warmstart.history import History
from warmstart.language_backbone import LanguageBackbone
from warmstart.language_model import LanguageModel
from warmstart.objectives import OBJECTIVES, ReplacedTokenDetection
from warmstart.older import metadata_of_version_1, params_of_version_2
from warmstart.optim import OPTIMIZERS
from warmstart.options import optional_positive_int
from warmstart.regressor import TextRegressor
from warmstart.saving import FORMAT_VERSION, METADATA_FILE
from warmstart.strategies import strategy_of
from warmstart.tasks import report_from_dict, target_from_metadata
from warmstart.token_classifier import TokenClassifier
from warmstart.training import Trained
from warmstart.warn import warn_notes


def _check_resolved(
    directory: Path, metadata: dict[str, Any], backbone: _core.Backbone, pooling: list[str]
) -> int | None:
    """Return the maximum length that was resolved when the estimator was saved; None in files of version 1.

    Raises
    ------
    WarmstartError
        The files beside ``warmstart.json`` disagree with it about the text vectors.
    """
    try:
        max_length = optional_positive_int("max_length", metadata["max_length"])
        said = {"pooling": metadata["pooling"], "normalize": metadata["normalize"]}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(directory, f"{type(error).__name__}: {error}") from error
    if max_length is not None and max_length > backbone.max_positions:
        raise _damaged(directory, f"max_length is {max_length}, the model has {backbone.max_positions} positions")
    if metadata["format_version"] > 1 and said != {"pooling": pooling, "normalize": backbone.normalizes}:
        found = f"pooling {pooling} and normalize {backbone.normalizes}"
        raise _damaged(directory, f"it says {said}, but the files beside it make {found}")
    return max_length


def _load_language_model(directory: Path, metadata: dict[str, Any]) -> LanguageModel:
    try:
        fields = dict(metadata["objective"])
        objective = OBJECTIVES[fields.pop("kind")](**fields)
        params = metadata["params"]
        # Up to version 2 the maximum length was the only resolved value.
        params = (
            _params_from_json(params, 3) if metadata["format_version"] > 2 else {"max_length": params["max_length"]}
        )
        seed = None if metadata["random_state"] is None else int(metadata["random_state"])
        history = None if metadata["history"] is None else History(**metadata["history"])
        n_iter = None if metadata["n_iter"] is None else int(metadata["n_iter"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(directory, f"{type(error).__name__}: {error}") from error
    kind = _core.ReplacedDetector if objective.kind == ReplacedTokenDetection.kind else _core.LanguageModel
    inner, _ = kind.load(os.fspath(directory))
    warn_notes(inner.backbone)
    backbone = LanguageBackbone(inner)
    try:
        model = LanguageModel(backbone, objective, **{"random_state": seed, **params})
    except TypeError as error:
        raise _damaged(directory, str(error)) from error
    model._limit = _check_resolved(directory, metadata, inner.backbone, inner.backbone.default_pooling)
    if history is not None and seed is not None:
        model._fitted, model.objective_, model.history_, model.random_state_ = backbone, objective, history, seed
    if n_iter is not None:
        model.n_iter_ = n_iter
    return model


ESTIMATORS: dict[str, type[TextClassifier] | type[TextRegressor] | type[TokenClassifier]] = {
    TextClassifier.__name__: TextClassifier,
    TextRegressor.__name__: TextRegressor,
    TokenClassifier.__name__: TokenClassifier,
}


def load(path: str | os.PathLike[str]) -> TextClassifier | TextRegressor | TokenClassifier | LanguageModel:
    """Open an estimator or a language model that `save` wrote.

    An estimator's ``backbone`` is the fine-tuned one, since the one that training started from is not saved. Fitting
    again continues from it, and so does a ``clone``, so that cross-validation scores on the texts it was fitted on are
    too good. A model saved by a user's subclass is opened as this package's class.

    Parameters
    ----------
    path : str or path
        The directory.

    Returns
    -------
    TextClassifier, TextRegressor, TokenClassifier or LanguageModel
        With the same predictions and history; an estimator with its parameters and report, a language model with its
        objective.

    Raises
    ------
    FileNotFoundError
        The directory is not there.
    WarmstartError
        It was not written by warmstart, or by a newer version, or ``warmstart.json`` is damaged.
    WeightsError
        The weights are damaged.

    Warns
    -----
    UserWarning
        As `Backbone.from_pretrained` warns.

    Examples
    --------
    >>> clf.save("my-model")
    >>> bool((load("my-model").predict(texts) == clf.predict(texts)).all())
    True
    """
    directory = Path(path)
    metadata = _read_metadata(directory)
    if metadata["estimator"] == LanguageModel.__name__:
        return _load_language_model(directory, metadata)
    try:
        params = _params_from_json(metadata["params"], metadata["format_version"])
        target = target_from_metadata(metadata)
        history = History(**metadata["history"])
        report = report_from_dict(target, metadata["report"])
        seed, n_iter = metadata["random_state"], int(metadata["n_iter"])
        # The seed of a published model, which was not trained here, is unknown.
        random_state = None if seed is None and n_iter == 0 else int(seed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(directory, f"{type(error).__name__}: {error}") from error
    model, _ = _core.TaskModel.load(os.fspath(directory))
    warn_notes(model.backbone)
    if model.n_outputs != len(target):
        raise _damaged(directory, f"it names {len(target)} outputs, but the weights have {model.n_outputs} outputs")
    try:
        estimator = ESTIMATORS[metadata["estimator"]](Backbone(model.backbone), **params)
    except TypeError as error:
        raise _damaged(directory, str(error)) from error
    max_length = _check_resolved(directory, metadata, model.backbone, model.pooling)
    estimator._keep(Trained(model, target, history, report, random_state, n_iter, max_length, metadata.get("pairs")))
    return estimator


def _read_metadata(directory: Path) -> dict[str, Any]:
    if not directory.exists():
        raise FileNotFoundError(f"{directory}: no such directory; expected one that an estimator's save() wrote")
    file = directory / METADATA_FILE
    if not file.exists():
        raise _not_saved(directory)
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(directory, str(error)) from error
    version = metadata.get("format_version") if isinstance(metadata, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _damaged(directory, f"its format_version is {version!r}")
    if metadata["format_version"] > FORMAT_VERSION:
        raise _core.WarmstartError(
            f"{file} has format version {metadata['format_version']}, written by warmstart "
            f"{metadata.get('warmstart_version')}; this is warmstart {_core.__version__}, which reads up to version "
            f"{FORMAT_VERSION}. Upgrade with: pip install --upgrade warmstart"
        )
    known = (*ESTIMATORS, LanguageModel.__name__)
    if metadata.get("estimator") not in known:
        raise _damaged(directory, f"estimator is {metadata.get('estimator')!r}, expected {' or '.join(known)}")
    return metadata_of_version_1(metadata) if version == 1 else metadata


def _not_saved(path: Path) -> _core.WarmstartError:
    """Return the error for a directory without a save; it names what can be opened instead."""
    place = path.parent if path.is_file() else path
    if (place / METADATA_FILE).exists():
        return _core.WarmstartError(
            f"{path} is a file; give the directory that holds it, in which an estimator was saved: load({str(place)!r})"
        )
    what = f"{place} has no {METADATA_FILE}, so no estimator was saved there"
    if path.is_file():
        what = f"{path} is a file, and {what}"
    model, hint = path if path.suffix.lower() == ".gguf" else place, ""
    if model.suffix.lower() == ".gguf" or (model / "config.json").exists() or any(model.glob("*.gguf")):
        hint = (
            f". To start from a pretrained model, use TextClassifier(Backbone.from_pretrained({str(model)!r}))"
            f".fit(texts, labels); TextClassifier.from_pretrained opens a published classifier with its head, "
            f"TextRegressor.from_pretrained a regressor, TokenClassifier.from_pretrained a tagger"
        )
    return _core.WarmstartError(what + hint)


def _damaged(directory: Path, what: str) -> _core.WarmstartError:
    return _core.WarmstartError(f"{directory / METADATA_FILE} is damaged ({what}); save the estimator again")


def _params_from_json(params: dict[str, Any], version: int) -> dict[str, Any]:
    params = dict(params) if version > 2 else params_of_version_2(params)
    if params["strategy"] is not None:
        params["strategy"] = strategy_of(params["strategy"])
    if params["optimizer"] is not None:
        fields = dict(params["optimizer"])
        params["optimizer"] = OPTIMIZERS[fields.pop("kind")](**fields)
    if isinstance(params.get("class_weight"), list):
        params["class_weight"] = dict(params["class_weight"])
    return params
