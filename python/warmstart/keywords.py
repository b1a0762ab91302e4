"""Keywords that a constructor does not have: the error names the one that was meant."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any

from warmstart.strategies import STRATEGIES

_NAMES_ELSEWHERE = {
    "lr": "learning_rate",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "max_epochs": "epochs",
    "max_iter": "max_steps",
    "n_steps": "max_steps",
    "bs": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation_steps",
    "gradient_checkpointing": "recompute",
    "max_len": "max_length",
    "max_seq_length": "max_length",
    "scoring": "metric",
    "early_stopping_patience": "patience",
    "n_iter_no_change": "patience",
    "eval_steps": "eval_every",
    "dtype": "precision",
    "seed": "random_state",
    "model": "backbone",
}
"""What scikit-learn, transformers and others call what is here called otherwise."""


def naming_what_was_meant(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor, so that a keyword it does not have raises TypeError with the one that was meant."""
    known = [name for name in signature(init).parameters if name != "self"]

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}{_hint(name, known)}")
        init(self, *args, **kwargs)

    return checked


def _hint(name: str, known: list[str]) -> str:
    meant = _NAMES_ELSEWHERE.get(name)
    if meant in known:
        return f"; {meant} is meant"
    if "strategy" in known:
        for kind in STRATEGIES.values():
            if name in kind().get_params():
                return f"; it is one of the strategy: strategy={kind.__name__}({name}=...)"
    close = get_close_matches(name, known, n=1)
    return f"; {close[0]} may be meant" if close else f"; it has {', '.join(known)}"
