"""The configuration of a new model: a model type, the contents of a ``config.json``, or its path."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def configuration_text(config: Mapping[str, Any] | str | os.PathLike[str], fields: dict[str, Any]) -> str:
    """Return the JSON text of a configuration, with some of its fields replaced.

    Parameters
    ----------
    config : str, mapping or path
        The name of a model type; or the contents of a ``config.json``, its path, or a directory that holds one.
    fields : dict
        Fields by their names in ``config.json``.

    Raises
    ------
    ValueError
        The model type is not known.
    """
    if fields or _is_name(config):
        return json.dumps(_fields(config) | fields)
    return _text(config)


def _is_name(config: Any) -> bool:
    """Whether this is the name of a model type: it does not look like a path, and no such file exists."""
    return isinstance(config, str) and not set(config) & set("/\\.") and not Path(config).exists()


def _text(config: Mapping[str, Any] | str | os.PathLike[str]) -> str:
    if isinstance(config, Mapping):
        return json.dumps(dict(config))
    path = Path(config)
    return (path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8")


def _fields(config: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    if not _is_name(config):
        values: dict[str, Any] = json.loads(_text(config))
        return values
    bases = json.loads(Path(__file__).with_name("base_configs.json").read_text(encoding="utf-8"))
    if config not in bases:
        raise ValueError(f"model type {config!r} is not supported; supported: {', '.join(map(repr, bases))}")
    return dict(bases[config])
