"""What older versions wrote and pickled, as of today.

Until format version 2 a strategy held what is now the optimiser, the learning rate and the loss settings too.
"""

from collections.abc import Collection
from typing import Any

from warmstart.language_backbone import LanguageBackbone
from warmstart.optim import AdamW
from warmstart.strategies import STRATEGIES, Strategy


def metadata_of_version_1(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of version 1 as version 2 has them.

    Version 1 cut texts where the tokenizer's file or the positions end, and never normalised: as a directory without
    modules is read today, which is how the core reads such files. Of language models it did not keep the number of
    steps.
    """
    params = metadata.get("params") or {"max_length": metadata.get("max_length")}
    return {"n_iter": None, **metadata, "params": params, "max_length": None, "pooling": None, "normalize": False}


def params_of_version_2(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of an estimator, as ``warmstart.json`` held them up to version 2, as version 3 holds them."""
    params = dict(params)
    if params["strategy"] is None:
        return {"optimizer": None, **params}
    fields = dict(params["strategy"])
    strategy, moved = split(STRATEGIES[fields.pop("method")], fields)
    if moved["optimizer"] is not None:
        moved["optimizer"] = moved["optimizer"].to_dict()
    return {**params, "strategy": strategy.to_dict(), **_not_given_twice(params, moved)}


def state_of_version_2(state: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the pickled attributes of an estimator, whose strategy may be one of before, as of today.

    `known` are its parameters: a language model never had the loss settings of a strategy.
    """
    strategy = state.get("strategy")
    if not isinstance(strategy, Strategy) or not (strategy.__dict__.keys() - strategy.get_params()):
        return state
    strategy, moved = split(type(strategy), vars(strategy))
    moved = {name: value for name, value in _not_given_twice(state, moved).items() if name in known}
    return {**state, "strategy": strategy, **moved}


def language_model_of_version_2(state: dict[str, Any]) -> dict[str, Any]:
    """Return the pickled attributes of a `LanguageModel`, which was no estimator up to version 2, as of today."""
    if "_inner" not in state:
        return state
    state = dict(state)
    model, is_new, is_random = state.pop("_inner"), state.pop("_is_new", False), state.pop("_is_random", False)
    backbone = LanguageBackbone(model, is_new, is_random)
    was_fitted = {"_fitted": backbone, "objective_": state["objective"]} if "history_" in state else {}
    return {**state, "backbone": backbone, "random_state": state.pop("_seed"), **was_fitted}


def split(kind: type[Strategy], fields: dict[str, Any]) -> tuple[Strategy, dict[str, Any]]:
    """Split the parameters that a strategy had.

    Returns
    -------
    strategy : Strategy
        With those that it still has.
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
    """Keep the learning rate that the estimator had itself where the strategy had none: only one could be given."""
    own = moved["learning_rate"]
    return {**moved, "learning_rate": params.get("learning_rate") if own is None else own}
