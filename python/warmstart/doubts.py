"""What makes a run doubtful: settings without effect, texts with nothing to learn from, a model that learnt nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.defaults import SOLVED
from warmstart.options import EMBED_BATCH_TOKENS
from warmstart.scores import mean_loss, metric_name, predictions
from warmstart.strategies import LinearProbing

if TYPE_CHECKING:
    from warmstart.prepared import Prepared

_FINE_TUNING = (0.01, "1e-5 to 5e-4")
_PROBING = (1.0, "1e-3 to 1e-1")
"""The highest learning rate that passes without a warning, and those that are usual."""

TEXTS, TEXTS_A_CLASS = 256, 4
"""Texts that a trained model is asked again: so many, or of many classes so many for each."""

OFTEN = 3
"""A class that so many of them have should be found in some of them."""

FEW_STEPS = 100
"""Of a run that more steps most likely help."""

HARDLY = 0.9
"""A loss above this share of that of guessing is hardly better than guessing."""

_NAMED = 5


def of_settings(params: dict[str, Any], run: Prepared, default_metric: str) -> list[str]:
    """Say what is asked and has no effect, or most likely not the one that is meant."""
    found = []
    if run.held_out is None and params["metric"] != default_metric:
        name = metric_name(params["metric"])
        found.append(f"metric={name!r} has no effect without fit(..., eval_set=(texts, labels)) to choose weights by")
    longest, budget = int(run.data.encodings.lengths().max()), run.options["batch_tokens"]
    if budget < longest:
        found.append(
            f"batch_tokens={budget} is less than the longest text, which has {longest} tokens: such texts are "
            f"batches of their own; give at least {longest}, or cut texts by max_length={budget}"
        )
    rate = run.options["strategy"]["learning_rate"]
    most, usual = _PROBING if run.options["strategy"]["method"] == LinearProbing.method else _FINE_TUNING
    if rate > most:
        found.append(f"learning_rate={rate:g} is beyond reason and most likely destroys the model; usual are {usual}")
    return found


def of_labels(run: Prepared) -> list[str]:
    """Say which classes have a single text to be learnt from."""
    targets, classes = run.data.targets, run.classes
    if run.of_words:
        return []
    counts = targets.sum(axis=0) if classes.multi_label else np.bincount(targets, minlength=len(classes))
    single = classes.values[counts == 1]
    if not len(single):
        return []
    return [
        f"{_classes(single, len(classes))} {'has' if len(single) == 1 else 'have'} one text: too few to be learnt "
        "from, or a slip in a label"
    ]


def refuse_alike(run: Prepared) -> None:
    """Refuse texts between which no model can tell.

    Raises
    ------
    ValueError
        All texts of a classifier of texts are the same tokens.
    """
    encodings = run.data.encodings
    n, first = len(encodings), encodings.ids(0)
    if run.of_words or n < 2 or any(not np.array_equal(encodings.ids(i), first) for i in range(1, n)):
        return
    is_empty = not len(encodings.offsets(0)) or not encodings.offsets(0).any()
    what = "empty" if is_empty else "alike, or alike to this model's tokenizer"
    raise ValueError(f"all {n} texts are {what}: nothing tells their labels apart; was another column meant?")


def of_run(model: _core.Classifier, run: Prepared, n_steps: int) -> list[str]:
    """Ask a trained model some of the texts that it was trained on; say what it did not learn."""
    encodings, classes, options = run.data.encodings, run.classes, run.options
    n = min(len(encodings), max(TEXTS, TEXTS_A_CLASS * len(classes)))
    asked, items = encodings.select(np.linspace(0, len(encodings) - 1, n).astype(np.int64).tolist())
    targets = run.data.targets[items]
    logits = model.logits(asked, EMBED_BATCH_TOKENS, options["precision"], None)
    loss, guessing = mean_loss(logits, targets, classes.multi_label), _guessing(targets, classes.multi_label)
    if run.head == SOLVED:
        trained, remedy = "a linear map of these features", "FullFineTuning() may tell more"
    elif n_steps < FEW_STEPS:
        trained, remedy = f"after {n_steps} steps the model", "train longer, as with epochs=30"
    else:
        trained, remedy = f"after {n_steps} steps the model", "another learning_rate may tell more"
    is_plain = options["class_weight"] is None and options["strategy"]["label_smoothing"] == 0
    if is_plain and guessing > 0 and loss > HARDLY * guessing:
        return [
            f"{trained} is hardly better than guessing, on the texts that it was trained on: its loss is {loss:.3g}, "
            f"that of guessing {guessing:.3g}; {remedy}; and are texts and labels in the same order?"
        ]
    truth, predicted = targets.astype(np.int64), predictions(logits, classes.multi_label)
    if classes.multi_label:
        occurs, found = truth.sum(axis=0), predicted.sum(axis=0)
    else:
        occurs, found = (np.bincount(values, minlength=len(classes)) for values in (truth, predicted))
    missed = classes.values[(occurs >= OFTEN) & (found == 0)]
    if not len(missed):
        return []
    weigh = "" if run.of_words else ", or class_weight='balanced' weighs rare classes like others"
    return [
        f"{trained} never predicts {_classes(missed, len(classes))}, not even for texts that it was trained on; "
        f"{remedy}{weigh}"
    ]


def _guessing(targets: NDArray[Any], multi_label: bool) -> float:
    """Return the loss of the share of each class, whatever the text."""
    if multi_label:
        shares = np.clip(targets.mean(axis=0, dtype=np.float64), 1e-12, 1 - 1e-12)
        return float(-(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean())
    shares = np.bincount(targets.astype(np.int64)) / len(targets)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _classes(some: NDArray[Any], n: int) -> str:
    names = ", ".join(repr(label) for label in some[:_NAMED].tolist()) + (", ..." if len(some) > _NAMED else "")
    return f"class {names}" if len(some) == 1 else f"{len(some)} of {n} classes ({names})"
