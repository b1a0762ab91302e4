"""Unknown keyword arguments: the error names the one that was most likely meant."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

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
    "texts": "X",
    "corpus": "X",
    "labels": "y",
    "targets": "y",
    "validation_data": "eval_set",
    "eval_dataset": "eval_set",
    "val": "eval_set",
    "dev": "eval_set",
    "tags": "y",
    "entities": "y",
    "weights": "sample_weight",
    "sample_weights": "sample_weight",
    "validation_split": "validation_fraction",
    "load_best_model_at_end": "keep",
    "output_dir": "checkpoint_dir",
    "resume_from_checkpoint": "checkpoint_dir",
    "save_steps": "checkpoint_every",
    "warmup_steps": "warmup_ratio",
    "eps": "epsilon",
    "adam_epsilon": "epsilon",
    "betas": "beta1",
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "lr_scheduler_type": "schedule",
    "label_smoothing_factor": "label_smoothing",
    "optim": "optimizer",
    "optimiser": "optimizer",
}
"""Names in scikit-learn, transformers and other libraries, with the names used here."""


def naming_what_was_meant(parts: Mapping[str, Sequence[str]] | None = None) -> Callable[[_Function], _Function]:
    """Wrap a method, so that an unknown keyword raises a TypeError that names the one most likely meant.

    A positional argument too many, which must be given by keyword, raises a TypeError with its name. A method that
    takes any keyword is not wrapped.

    Parameters
    ----------
    parts : mapping of str to sequence of str, optional
        Other places where arguments can be given: a template of the code, with ``{}`` for the name, and their names.
    """

    def wrap(method: _Function) -> _Function:
        parameters = signature(method).parameters.values()
        if any(one.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) for one in parameters):
            return method
        known = [one.name for one in parameters][1:]
        by_name = [one.name for one in parameters if one.kind is Parameter.KEYWORD_ONLY]
        n_by_place = len(known) - len(by_name)

        @wraps(method)
        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            what = type(self).__name__ + ("" if method.__name__ == "__init__" else f".{method.__name__}")
            for name in kwargs:
                if name not in known:
                    raise TypeError(f"{what} has no parameter {name!r}{hint(name, known, parts)}")
            if len(args) > n_by_place and by_name:
                others = ", ".join(f"{name}=..." for name in by_name[:3])
                taken = " and ".join(known[:n_by_place]) or "nothing"
                raise TypeError(
                    f"{what} takes {taken} by place, got {len(args)} arguments; the others are given by name, as in "
                    f"{others}"
                )
            return method(self, *args, **kwargs)

        checked.unchecked = method  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return wrap


def unchecked(method: _Function) -> _Function:
    """Return a method without the wrapper of `naming_what_was_meant`; other wrappers stay."""
    found: _Function = getattr(method, "unchecked", method)
    # `functools.wraps` in a user's wrapper around ours copies the mark.
    return found if getattr(method, "__wrapped__", None) is found else method


def hint(name: str, known: Sequence[str], parts: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return a hint: the known name most likely meant by an unknown one, or the other place where it can be given."""
    plain = name.removeprefix("strategy__").removeprefix("optimizer__")  # as set_params has it, and no constructor
    meant = _NAMES_ELSEWHERE.get(plain, plain)
    if meant in known:
        return f"; {meant} is meant"
    for how, names in (parts or {}).items():
        if meant in names:
            return f"; give {how.format(meant)}"
    close = get_close_matches(plain, known, n=1)
    if close:
        return f"; {close[0]} may be meant"
    for how, names in (parts or {}).items():
        for other in get_close_matches(plain, names, n=1):
            return f"; {how.format(other)} may be meant"
    return f"; it has {', '.join(known) or 'none'}"
