"""Conversion of files and pickles of older versions to the current format.

Up to format version 2 a strategy also held the optimiser, the learning rate and the loss settings.
"""

from collections.abc import Collection
from typing import Any

from warmstart.language_backbone import LanguageBackbone
from warmstart.optim import AdamW
from warmstart.strategies import STRATEGIES
from warmstart.strategy import Strategy


def metadata_of_version_1(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of version 1 as version 2 has them.

    Version 1 truncated texts at the limit of the tokenizer's file or of the positions, and never normalised vectors,
    which is how the core reads a directory without modules today. It did not store the number of steps of language
    models.
    """
    params = metadata.get("params") or {"max_length": metadata.get("max_length")}
    return {"n_iter": None, **metadata, "params": params, "max_length": None, "pooling": None, "normalize": False}


def params_of_version_2(params: dict[str, Any]) -> dict[str, Any]:
    """Convert estimator parameters from ``warmstart.json`` of version 2 or earlier to version 3."""
    params = dict(params)
    if params["strategy"] is None:
        return {"optimizer": None, **params}
    fields = dict(params["strategy"])
    strategy, moved = split(STRATEGIES[fields.pop("method")], fields)
    if moved["optimizer"] is not None:
        moved["optimizer"] = moved["optimizer"].to_dict()
    return {**params, "strategy": strategy.to_dict(), **_not_given_twice(params, moved)}


def state_of_version_2(state: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Convert the pickled attributes of an estimator, whose strategy may be of an older version, to current ones.

    `known` are its parameters: a language model never had a strategy's loss settings.
    """
    strategy = state.get("strategy")
    if not isinstance(strategy, Strategy) or not (strategy.__dict__.keys() - strategy.get_params()):
        return state
    strategy, moved = split(type(strategy), vars(strategy))
    moved = {name: value for name, value in _not_given_twice(state, moved).items() if name in known}
    return {**state, "strategy": strategy, **moved}


def language_model_of_version_2(state: dict[str, Any]) -> dict[str, Any]:
    """Convert the pickled attributes of a `LanguageModel` of version 2 or earlier, when it was no estimator."""
    if "_inner" not in state:
        return state
    state = dict(state)
    model, is_new, is_random = state.pop("_inner"), state.pop("_is_new", False), state.pop("_is_random", False)
    backbone = LanguageBackbone(model, is_new, is_random)
    was_fitted = {"_fitted": backbone, "objective_": state["objective"]} if "history_" in state else {}
    return {**state, "backbone": backbone, "random_state": state.pop("_seed"), **was_fitted}


def split(kind: type[Strategy], fields: dict[str, Any]) -> tuple[Strategy, dict[str, Any]]:
    """Split the parameters of an older strategy.

    Returns
    -------
    strategy : Strategy
        The strategy with the parameters that it still has.
    moved : dict
        ``learning_rate, label_smoothing, optimizer`` of the estimator; the last is None where it is the default.
    """
    fields = dict(fields)
    learning_rate, label_smoothing = fields.pop("learning_rate"), fields.pop("label_smoothing")
    if fields["schedule"] is None:
        fields["schedule"] = AdamW().schedule
    optimizer = AdamW(**{name: fields.pop(name) for name in AdamW().get_params()})
    strategy = kind(**fields)
    is_default = optimizer == strategy.default_optimizer()
    moved = {"learning_rate": learning_rate, "label_smoothing": label_smoothing}
    return strategy, {**moved, "optimizer": None if is_default else optimizer}


def _not_given_twice(params: dict[str, Any], moved: dict[str, Any]) -> dict[str, Any]:
    """Keep the estimator's own learning rate if the strategy had none: only one of them could be given."""
    own = moved["learning_rate"]
    return {**moved, "learning_rate": params.get("learning_rate") if own is None else own}
