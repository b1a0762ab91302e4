"""Arguments that several entry points share, checked once and in the same words."""

import os
import re
import secrets
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np

from warmstart import _core

EMBED_BATCH_TOKENS = 2048
"""Tokens per batch without training: enough to fill the processor, small enough to stay in its caches."""

MAX_SHARD_SIZE = "5GB"
"""Default maximum size of a weight file; larger weights are saved in several files."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt])(i?)b", re.IGNORECASE)
_MAX_SEED = 2**32 - 1
_MAX_COUNT = 2**40


def positive_int(name: str, value: Any, where: str = "") -> int:
    """Return ``value`` as an int of at least 1.

    Raises
    ------
    TypeError
        ``value`` is no integer.
    ValueError
        It is below 1, or so large that it can only be a mistake.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a positive integer{where}, got {value!r} ({type(value).__name__})")
    if value < 1:
        raise ValueError(f"{name} must be at least 1{where}, got {value}")
    if int(value) > _MAX_COUNT:
        raise ValueError(f"{name} must be at most {_MAX_COUNT}{where}, got {value}")
    return int(value)


def optional_count(name: str, value: Any) -> int | None:
    """Return ``None`` and 0 as they are, anything else as `positive_int` does."""
    if isinstance(value, Integral) and not isinstance(value, bool) and value == 0:
        return 0
    return None if value is None else positive_int(name, value, ", 0 or None")


def finite(name: str, value: Any) -> float:
    """Return ``value`` as a float.

    Raises
    ------
    TypeError, ValueError
        ``value`` is no number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    if not isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool.

    Raises
    ------
    TypeError
        ``value`` is no bool.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r} ({type(value).__name__})")
    return bool(value)


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises
    ------
    ValueError
        ``value`` is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def optional_positive_int(name: str, value: Any) -> int | None:
    """Return ``None`` as it is, anything else as `positive_int` does."""
    return None if value is None else positive_int(name, value, " or None")


def byte_count(name: str, value: Any) -> int:
    """Return a number of bytes given as an int, or as text: ``"200MB"`` are 200,000,000, ``"200MiB"`` 209,715,200.

    Raises
    ------
    TypeError
        ``value`` is neither an integer nor text.
    ValueError
        It is below 1, or text of another form.
    """
    if not isinstance(value, str):
        return positive_int(name, value, ' or text such as "200MB"')
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError(f'{name} must be a number of bytes or text such as "200MB", "1.5GB" or "2GiB", got {value!r}')
    number, unit, binary = found.groups()
    size = float(number) * (1024 if binary else 1000) ** ("kmgt".index(unit.lower()) + 1)
    return positive_int(name, int(min(size, _MAX_COUNT)))


TRAINING_PRECISIONS = ("auto", "f32", "bf16")
INFERENCE_PRECISIONS = (*TRAINING_PRECISIONS, "int8")


def check_compute(precision: Any, device: Any, precisions: tuple[str, ...] = TRAINING_PRECISIONS) -> None:
    """Refuse a precision or device that this build does not support.

    Raises
    ------
    DeviceError
        A known value that is not available here.
    ValueError
        An unknown value, or a precision that does not support training.
    """
    check_precision(precision, precisions)
    _check_choice("device", device, available=("auto", "cpu"), known=("cuda",))


def check_precision(precision: Any, precisions: tuple[str, ...] = INFERENCE_PRECISIONS) -> None:
    """Refuse a precision that is not in `precisions`.

    Raises
    ------
    ValueError
        The precision is not in `precisions`.
    """
    if precision == "int8" and "int8" not in precisions:
        raise ValueError(
            'precision="int8" is for prediction and feature extraction: nothing can be trained in it; '
            'use precision="auto", "f32" or "bf16"'
        )
    _check_choice("precision", precision, available=precisions, known=())


def _check_choice(name: str, value: Any, available: tuple[str, ...], known: tuple[str, ...]) -> None:
    if isinstance(value, str) and value in available:
        return
    choices = " or ".join(f"{name}={choice!r}" for choice in available)
    if isinstance(value, str) and value in known:
        raise _core.DeviceError(
            f"{name}={value!r} is not available in this build of warmstart {_core.__version__}; use {choices}"
        )
    raise ValueError(f"{name} must be one of {', '.join(map(repr, available + known))}, got {value!r}; use {choices}")


def seed_of_run(random_state: Any, checkpoint_dir: Any) -> int:
    """Return the seed of a run: that of `as_seed`, or if None is given that of the checkpoint, if there is one."""
    found = None
    if random_state is None and checkpoint_dir is not None:
        found = _core.checkpoint_seed(os.fspath(checkpoint_dir))
    return as_seed(random_state) if found is None else found


def as_seed(random_state: Any) -> int:
    """Return the seed to use: the integer given, one drawn from a NumPy generator, or a fresh one for ``None``.

    Returns
    -------
    int
        In ``[0, 2**32)``.
    """
    if random_state is None:
        return secrets.randbits(32)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, _MAX_SEED, dtype=np.int64))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, _MAX_SEED, endpoint=True))
    if isinstance(random_state, Integral) and not isinstance(random_state, bool):
        if 0 <= int(random_state) <= _MAX_SEED:
            return int(random_state)
        raise ValueError(f"random_state must lie between 0 and {_MAX_SEED}, got {random_state}")
    raise TypeError(
        f"random_state must be None, an integer or a numpy RandomState or Generator, got {random_state!r} "
        f"({type(random_state).__name__})"
    )
