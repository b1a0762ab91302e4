"""The model that language model training starts from: a backbone with its own head or a new one."""

import json
import os
from dataclasses import dataclass
from typing import Any

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.hub import fetched
from warmstart.language_backbone import LanguageBackbone, Model
from warmstart.objectives import (
    CausalLM,
    MaskedLM,
    Objective,
    PermutationLM,
    ReplacedTokenDetection,
    require_objective,
)
from warmstart.opening import opened, require_backbone
from warmstart.warn import warn, warn_notes


@dataclass(frozen=True, eq=False)
class Beginning:
    """The model that a run with this seed starts from, and its objective."""

    seed: int
    backbone: LanguageBackbone
    objective: Objective


def begin(given: Any, objective: Objective | None, seed: int, verbose: bool) -> Beginning:
    """Return the model that training or inference starts from, and its objective.

    Parameters
    ----------
    given : Backbone, LanguageBackbone, str or path
        A `LanguageBackbone` keeps its head if the objective trains such a head.
    objective : Objective or None
        None takes the default objective of the model.
    seed : int
        Seed of a new head.
    verbose : bool
        Show the progress bars of ``huggingface_hub``.

    Raises
    ------
    TypeError, ValueError
        `given` is no backbone, `objective` is no objective, or the backbone does not support the objective.
    """
    if objective is not None:
        require_objective(objective)
    replaces = isinstance(objective, ReplacedTokenDetection)
    if isinstance(given, str | os.PathLike):
        given = Backbone.from_pretrained(given, verbose=verbose) if replaces else checkpoint(given, verbose)
    backbone = require_backbone(given)
    if isinstance(backbone, LanguageBackbone):
        detects = isinstance(backbone._model, _core.ReplacedDetector)
        if objective is None or replaces == detects:
            return Beginning(seed, backbone, objective or default_objective(backbone._model))
    is_random = backbone._is_random
    if isinstance(objective, ReplacedTokenDetection):
        generator = objective.generator or generator_for(backbone, seed)
        detector = _core.ReplacedDetector(backbone._inner, opened(generator, verbose)._inner, seed)
        return Beginning(seed, LanguageBackbone(detector, True, is_random), objective)
    model = _core.LanguageModel(backbone._inner, seed)
    is_new = is_random or bool(model.head_parameters)
    return Beginning(seed, LanguageBackbone(model, is_new, is_random), objective or default_objective(model))


def checkpoint(path: str | os.PathLike[str], verbose: bool) -> Backbone:
    """Open a checkpoint with its language model head, if it has one; else the backbone alone.

    Raises
    ------
    FileNotFoundError, WeightsError
        The checkpoint does not exist, or its weights are damaged.

    Warns
    -----
    UserWarning
        It has no language model head, or an incomplete one.
    """
    place = fetched(path, None, None, verbose)
    try:
        return with_head(place)
    except _core.WeightsError:
        backbone = Backbone.from_pretrained(place, verbose=verbose)
    if _core.LanguageModel(backbone._inner, 0).head_parameters:
        warn(
            f"{path} has no whole head of a language model: a new one begins with random weights; "
            f"LanguageModel.from_pretrained({os.fspath(path)!r}) says what is missing"
        )
    return backbone


def with_head(place: str) -> LanguageBackbone:
    """Open a checkpoint with its language model head.

    Raises
    ------
    FileNotFoundError, WeightsError
        The checkpoint does not exist, or has no language model head.
    """
    model = _core.LanguageModel.from_pretrained(place)
    warn_notes(model.backbone)
    return LanguageBackbone(model)


def default_objective(model: Model) -> Objective:
    """Return the default objective of a model."""
    if isinstance(model, _core.ReplacedDetector):
        return ReplacedTokenDetection()
    return _made_for(model.backbone)


def _made_for(backbone: _core.Backbone) -> Objective:
    if backbone.is_causal:
        return CausalLM()
    return PermutationLM() if backbone.is_permuting else MaskedLM()


def generator_for(backbone: Backbone, seed: int) -> Backbone:
    """Make a new model of the same kind, a quarter as wide (Clark et al. 2020, section 3.2).

    Raises
    ------
    ValueError
        The backbone is no masked language model, or its configuration lacks the sizes to scale down.
    """
    config = json.loads(backbone._inner.config)
    made_for = _made_for(backbone._inner)
    if not isinstance(made_for, MaskedLM):
        raise ValueError(f"objective: a {config['model_type']} can be trained with {made_for!r}")
    heads = config.get("num_attention_heads")
    if heads is None or not {"hidden_size", "intermediate_size"} <= config.keys():
        raise ValueError(
            f"ReplacedTokenDetection(generator=None) cannot make a smaller {config['model_type']}; give a generator, "
            "as in ReplacedTokenDetection(generator=Backbone.from_config(...))"
        )
    size = config["hidden_size"] // heads
    config["num_attention_heads"] = max(1, heads // 4)
    config["hidden_size"] = size * config["num_attention_heads"]
    config["intermediate_size"] = max(1, config["intermediate_size"] // 4)
    return Backbone.from_config(config, backbone.tokenizer, random_state=seed)
