"""Warnings about doubtful runs: settings without effect, training data without signal, models that learnt nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from warmstart.classification import Classification
from warmstart.defaults import HARDLY, LEAST_STEPS, SOLVED
from warmstart.entities import to_spans
from warmstart.regression_report import RegressionReport
from warmstart.report import Report
from warmstart.samples import drawn, some_of_each
from warmstart.scores import metric_name, predictions
from warmstart.strategies import FullFineTuning
from warmstart.strategy import UpdateRule

if TYPE_CHECKING:
    from warmstart.prepared import Prepared
    from warmstart.run_report import RunReport
    from warmstart.tasks import Task

PRETRAINING = (1e-5, 1e-3, 1e-2)
"""Usual learning rates, lowest and highest, and the rate above which a model is most likely destroyed."""

LOW = 1e-3
"""Share of the lowest usual rate below which a model hardly changes."""

TEXTS = 256
"""Number of training texts on which a trained model is checked."""

OFTEN, ASKED, MOST_ASKED = 3, 20, 1024
"""A class with `OFTEN` texts should be predicted for one of up to `ASKED` of them; at most `MOST_ASKED` in all."""

FEW_STEPS = 100
"""Number of optimiser steps below which more steps most likely help."""

EVALUATED = 20
"""Number of texts in `eval_set` from which on its accuracy is meaningful."""

SWAPPED = 2
"""Number of labels per distinct text from which on texts and labels were most likely swapped."""

_NAMED = 5

Ask = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns the logits of all items (texts or words) of the texts with these indices."""


def of_settings(params: dict[str, Any], run: Prepared, default_metric: str) -> list[str]:
    """Return warnings about settings without effect, or most likely with another than the intended one."""
    found = []
    if run.held_out is None and params["metric"] != default_metric:
        name = metric_name(params["metric"])
        found.append(f"metric={name!r} has no effect without fit(..., eval_set=(texts, labels)) to choose weights by")
    longest, budget = int(run.data.encodings.lengths().max()), run.options["batch_tokens"]
    if budget < longest and run.head != SOLVED:
        found.append(
            f"batch_tokens={budget} is less than the longest text, which has {longest} tokens: such texts are "
            f"batches of their own; give at least {longest}, or cut texts by max_length={budget}"
        )
    return found + of_rate(*rates(run.options["rule"]))


def of_rate(rate: float, usual: tuple[float, float, float]) -> list[str]:
    """Return a warning about a learning rate that is far too low or too high."""
    least, most, beyond = usual
    if rate > beyond:
        what = "most likely destroys the model"
    elif 0 < rate < LOW * least:
        what = "hardly moves the model"
    else:
        return []
    return [f"learning_rate={rate:g} is beyond reason and {what}; usual are {least:g} to {most:g}"]


def of_labels(run: Prepared) -> list[str]:
    """Return warnings about classes with no text, a single text, or all texts."""
    if run.of_words or not isinstance(run.task, Classification):
        return []
    counts, classes, found = _counts(run.task, run.data.targets), run.task.classes, []
    for n, what in (
        (0, "no text: what it is cannot be learnt"),
        (1, "one text: too few to be learnt from"),
        (max(2, len(run.data.encodings)), "every text: what it is not cannot be learnt"),
    ):
        # A published head may have classes without training texts here.
        few = classes.values[:0] if n == 0 and run.model is not None else classes.values[counts == n]
        if len(few):
            have = "has" if len(few) == 1 else "have"
            found.append(f"{_classes(few, len(classes))} {have} {what}, or there is a slip in the labels")
    return found


def of_entities(tags: list[list[str]]) -> list[str]:
    """Return a warning about labels with a single entity in the training set."""
    counts = Counter(label for own in tags for *_, label in to_spans(own))
    once = [label for label, n in counts.items() if n == 1]
    if not once:
        return []
    kinds = ", ".join(map(repr, once[:_NAMED])) + (", ..." if len(once) > _NAMED else "")
    return [f"of {kinds} there is one entity each: too few to be learnt from, or there is a slip in the tags"]


def refuse_alike(run: Prepared) -> None:
    """Refuse texts or labels that are all the same, or that were swapped: nothing can be learnt from them.

    Raises
    ------
    ValueError
        All texts of a classifier of texts are the same tokens, or all have the same labels, or there are more different
        labels than texts.
    """
    encodings, targets = run.data.encodings, run.data.targets
    n = len(encodings)
    if run.of_words or n < 2:
        return
    if (targets == targets[0]).all():
        raise ValueError(f"all {n} texts have the same labels; there is nothing to learn")
    one_label = isinstance(run.task, Classification) and not run.task.classes.multi_label
    n_labels = len(np.unique(targets)) if one_label else 0  # a published head may have more
    enough = max(2, n_labels // SWAPPED + 1)
    kinds: set[bytes] = set()
    for i in range(n):
        kinds.add(encodings.ids(i).tobytes())
        if len(kinds) >= enough:
            return
    if len(kinds) > 1:
        if encodings.n_truncated or encodings.n_unknown:
            return  # different texts may look alike
        raise ValueError(
            f"there are {n_labels} different labels for {len(kinds)} different texts: have texts and "
            "labels been swapped?"
        )
    if encodings.n_truncated:
        what = f"alike in their first {encodings.max_length} tokens, where they are cut; give a larger max_length"
    elif encodings.offsets(0).any():
        what = "alike, or alike to this model's tokenizer; was another column meant?"
    else:
        what = "empty; was another column meant?"
    raise ValueError(f"nothing tells labels apart: all {n} texts are {what}")


def of_run(run: Prepared, n_steps: int, ask: Ask) -> list[str]:
    """Ask a trained model some of the texts that it was trained on; say what it did not learn."""
    targets, weights, task = run.data.targets, run.data.sample_weight, run.task
    if weights is not None and isinstance(task, Classification):  # then the shares of labels are not what counts
        return []
    text_of = np.repeat(np.arange(len(run.data.encodings)), run.data.encodings.item_counts())
    texts = drawn(len(run.data.encodings), TEXTS)
    found, asked = ask(texts), targets[np.isin(text_of, texts)]
    if isinstance(task, Classification) and run.is_default and run.head == SOLVED:
        return [_guessed(run, task, found)]
    trained = "a linear map of these features" if run.head == SOLVED else f"after {n_steps} steps the model"
    own = None if weights is None else weights[np.isin(text_of, texts)]
    loss = task.loss(found, asked, own)
    guessing = min(task.guessing_loss(targets, weights), task.guessing_loss(asked, own))
    if loss > HARDLY * guessing and not _is_mostly_right(task, found, asked):
        how = "hardly better" if loss <= guessing else "worse"
        return [
            f"{trained} is {how} than guessing, on the texts that it was trained on: its loss is {loss:.3g}, "
            f"that of guessing {guessing:.3g}; {_remedy(run, n_steps)}; and are texts and labels in the same order?"
        ]
    if not isinstance(task, Classification):
        return []
    missed = _never_predicted(run, task, found, text_of, ask)
    if not len(missed):
        return []
    is_weighted = task.of_words or task.class_weight is not None
    weigh = "" if is_weighted else "; class_weight='balanced' gives rare ones the weight of others"
    return [
        f"{trained} never predicts {_classes(missed, task.n_outputs)}, asked for texts of theirs that it was trained "
        f"on; {_remedy(run, n_steps)}{weigh}"
    ]


def _is_mostly_right(task: Task, found: NDArray[np.float32], asked: NDArray[Any]) -> bool:
    """Tell whether most classes are predicted right: a strong penalty may raise the loss while they are."""
    if not isinstance(task, Classification):
        return False
    several = task.classes.multi_label
    return bool((predictions(found, several) == asked).mean() >= (1 + _commonest(asked, several)) / 2)


def _guessed(run: Prepared, task: Classification, logits: NDArray[np.float32]) -> str:
    """Return a warning that fine-tuning was left out."""
    targets = run.data.targets
    label = int(np.bincount(targets).argmax())
    name, share, said = (
        task.classes.values[label].item(),
        (targets == label).mean(),
        (logits.argmax(axis=1) == label).mean(),
    )
    return (
        f"left out in turn, the {len(targets)} texts are not predicted surely better from the features of this model "
        f"than by guessing, and {share:.0%} of them are {name!r}: fine-tuning was left out, and the head alone was "
        f"solved for; it predicts {name!r} for {said:.0%} of them. More texts, a model of their language and kind, "
        "class_weight='balanced' or strategy=FullFineTuning() may do better"
    )


def of_evaluation(run: Prepared, report: RunReport, metric: str) -> list[str]:
    """Return warnings if predictions on `eval_set` are no better than its commonest class, or if no entity is found."""
    if run.held_out is None or len(run.held_out.encodings) < EVALUATED:
        return []
    if isinstance(report, RegressionReport):
        return _of_numbers(report)
    if not isinstance(report, Report) or not isinstance(run.task, Classification) or report.accuracy is None:
        return []
    if run.is_default and run.head == SOLVED:  # it was told that this is to be expected
        return []
    if run.of_words:
        nothing = report.entity_f1 == 0 and any(row["support"] for row in report.per_class)
        return ["no entity of eval_set is found: what was learnt does not carry over"] if nothing else []
    if run.task.classes.multi_label or run.is_weighted or metric not in ("accuracy", "loss"):
        return []
    common = _commonest(run.held_out.targets, False)
    if report.accuracy > common or report.accuracy == 1:
        return []
    return [
        f"of eval_set {report.accuracy:.3g} is right, no more than if its commonest class were always predicted "
        f"({common:.3g}): what was learnt does not carry over; are texts and labels in the same order in both sets?"
    ]


def _of_numbers(report: RegressionReport) -> list[str]:
    """Say which targets of `eval_set` are not predicted at all."""
    if report.true is None or report.predicted is None:
        return []
    missed = [
        row["target"]
        for row, true, predicted in zip(report.per_target, report.true.T, report.predicted.T, strict=True)
        if (true != true[0]).any() and ((predicted == predicted[0]).all() or (row["spearman"] or 0.0) < 0)
    ]
    if not missed:
        return []
    which = "" if len(report.targets) == 1 else f" of {', '.join(map(repr, missed[:_NAMED]))}"
    return [
        f"what is predicted of eval_set does not rise with its numbers{which}: what was learnt does not carry "
        "over; more texts or epochs may help; or are texts and numbers in another order?"
    ]


def of_pretraining(loss: float, vocab_size: int, options: dict[str, Any], n_steps: int) -> list[str]:
    """Return a warning if a language model is hardly better than a uniform distribution over tokens."""
    guessing, rate = log(vocab_size), options["rule"].learning_rate
    if loss <= HARDLY * guessing:
        return []
    if loss > guessing + 1 or rate > PRETRAINING[2]:
        remedy = f"the rate was {rate:g}, a lower one should help"
    else:
        remedy = "train longer (epochs=, max_steps=), or faster: from scratch learning_rate=1e-3 is usual"
    return [
        f"after {n_steps} steps the loss is {loss:.3g}, where {guessing:.3g} is that of guessing: the model has learnt "
        f"next to nothing; {remedy}"
    ]


def _never_predicted(
    run: Prepared, task: Classification, logits: NDArray[np.float32], text_of: NDArray[np.int64], ask: Ask
) -> NDArray[Any]:
    """Return classes that occur neither in the predictions of these logits nor in those for some of their own texts."""
    targets, classes = run.data.targets, task.classes

    def predicted(found: NDArray[np.float32]) -> NDArray[np.bool_]:
        labels = predictions(found, classes.multi_label)
        seen = labels.any(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(classes)) > 0
        return np.asarray(seen)

    suspects = np.flatnonzero((_counts(task, targets) >= OFTEN) & ~predicted(logits))
    if not len(suspects):
        return classes.values[:0]
    each = min(ASKED, max(OFTEN, MOST_ASKED // len(suspects)))
    if classes.multi_label:
        items = some_of_each(targets[:, suspects], each)
    else:
        of_suspects = np.flatnonzero(np.isin(targets, suspects))
        items = of_suspects[some_of_each(targets[of_suspects], each)]
    found = predicted(ask(np.unique(text_of[items])))
    return np.asarray(classes.values[suspects[~found[suspects]]])


def _counts(task: Classification, targets: NDArray[Any]) -> NDArray[Any]:
    """Return the number of training items of each class."""
    classes = task.classes
    return np.asarray(targets.sum(axis=0) if classes.multi_label else np.bincount(targets, minlength=len(classes)))


def rates(
    rule: UpdateRule, full: tuple[float, float, float] = FullFineTuning.usual_rates
) -> tuple[float, tuple[float, float, float]]:
    """Return a rule's learning rate, and the usual rates; `full` is the range if all weights are trained."""
    strategy = rule.strategy
    return rule.learning_rate, full if isinstance(strategy, FullFineTuning) else strategy.usual_rates


def _remedy(run: Prepared, n_steps: int) -> str:
    if run.head == SOLVED:
        return "FullFineTuning() changes the features too"
    rate, (least, most, _) = rates(run.options["rule"])
    if not least <= rate <= most:
        return f"learning_rate={rate:g} is {'low' if rate < least else 'high'}, usual are {least:g} to {most:g}"
    if n_steps >= FEW_STEPS:
        return "another learning_rate, or a model of the language and kind of these texts, may do better"
    if run.options["max_steps"] is not None:
        return f"train longer, as with max_steps={max(LEAST_STEPS, 10 * run.options['max_steps'])}"
    return f"train longer, as with epochs={5 * run.options['epochs']}"


def _commonest(targets: NDArray[Any], multi_label: bool) -> float:
    """Return the accuracy of always predicting the commonest label; for multi-label the mean over columns."""
    if multi_label:
        shares = targets.mean(axis=0)
        return float(np.maximum(shares, 1 - shares).mean())
    return float(np.bincount(targets.astype(np.int64)).max() / len(targets))


def _classes(some: NDArray[Any], n: int) -> str:
    names = ", ".join(repr(label) for label in some[:_NAMED].tolist()) + (", ..." if len(some) > _NAMED else "")
    return f"class {names}" if len(some) == 1 else f"{len(some)} of {n} classes ({names})"
