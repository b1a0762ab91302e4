"""Backbones as estimators take them: an object, a path or a name on the hub."""

import os
from collections.abc import Sequence
from typing import Any

from warmstart.backbone import Backbone


def opened(value: Any, verbose: bool = True) -> Backbone:
    """Return a backbone; a path or a name on the hub is opened.

    Raises
    ------
    TypeError
        `value` is of another type.
    FileNotFoundError, ImportError, ValueError, WarmstartError
        As `Backbone.from_pretrained` raises them.
    """
    if isinstance(value, str | os.PathLike):
        return Backbone.from_pretrained(value, verbose=verbose)
    return require_backbone(value)


def require_backbone(value: Any) -> Backbone:
    """Return `value` if it is a backbone; else raise an error that says how to get one.

    Raises
    ------
    TypeError
        `value` is no backbone.
    """
    if isinstance(value, Backbone):
        return value
    hint = (
        f"Backbone.from_pretrained({value!r})"
        if isinstance(value, str | os.PathLike)
        else "Backbone.from_pretrained(path)"
    )
    own = next((name for name in ("backbone_", "backbone") if hasattr(type(value), name)), None)
    what = f"open one with {hint}" if own is None else f"pass its {own}"
    raise TypeError(f"backbone must be a Backbone, got {type(value).__name__}; {what}")


def with_pooling(backbone: Backbone, pooling: str | Sequence[str]) -> Backbone:
    """Return the backbone with `pooling` as the pooling of the classification head.

    Raises
    ------
    ValueError, TypeError
        A pooling does not exist, or does not fit dense layers of the directory.
    """
    if isinstance(pooling, str) and pooling == "auto":
        return backbone
    return Backbone(backbone._inner.with_classifier_pooling(backbone.resolve_pooling(pooling)))
