"""A classifier's training run: options checked, data encoded, the core called, its results gathered."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.backbone import Backbone, require_backbone, with_pooling
from warmstart.defaults import BATCH_SIZE, resolve, steps_asked
from warmstart.history import History
from warmstart.labels import Classes, Targets
from warmstart.memory import MemoryEstimate, check_fits, estimate
from warmstart.monitor import FitMonitor
from warmstart.options import EMBED_BATCH_TOKENS, as_seed, check_compute, flag, optional_positive_int, positive_int
from warmstart.plan import Choice, Plan
from warmstart.probe import Probe
from warmstart.progress import TokenBar
from warmstart.report import Report
from warmstart.scores import check_metric, metric_name, score
from warmstart.strategies import LinearProbing, require_strategy
from warmstart.texts import Texts, are_pairs, caller_level, check_kind, encode, normalise, warn_truncated


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run leaves behind: the model, what its outputs mean, and how it went."""

    model: _core.Classifier
    classes: Classes
    history: History
    report: Report
    random_state: int
    n_iter: int
    max_length: int | None = None
    """Where texts are cut, in tokens; None where an older version pickled it: what the backbone says."""
    pairs: bool | None = None
    """Whether texts were pairs; None where that is not known."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Encoded texts with their targets."""

    encodings: _core.Encodings
    targets: Targets


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run before it starts: checked options and encoded data."""

    backbone: Backbone
    options: dict[str, Any]
    classes: Classes
    data: Labelled
    held_out: Labelled | None
    choices: dict[str, Choice]
    """What was chosen, by the name of the parameter."""
    is_solved: bool
    """Whether the head is solved for, not trained in steps."""
    starts_solved: bool
    """Whether training goes on from a head that is solved for."""
    pairs: bool | None = None
    """Whether texts are pairs; None of tagged words."""

    def memory(self, **changed: Any) -> MemoryEstimate:
        """Estimate the peak of memory, with some options changed."""
        held_out = None if self.held_out is None else self.held_out.encodings
        options = json.dumps({**self.options, **changed})
        return estimate(self.backbone._inner, self.data.encodings, held_out, options)

    def plan(self) -> Plan:
        """Return what is done to every parameter, and what was chosen."""
        told = self.backbone._inner.explain(json.dumps(self.options["strategy"]), self.options["n_outputs"])
        return Plan(told, self.choices)

    def check_memory(self) -> None:
        """Raise DeviceError if the machine has less memory than the run takes."""
        longest = int(self.data.encodings.lengths().max())
        check_fits(self.memory(), self.options["batch_tokens"], longest, self.memory)


_FINE_TUNING = (0.05, "1e-5 to 5e-4")
"""The highest learning rate that passes without a warning, and those that are usual."""

Scorer = Callable[[NDArray[np.float32], float], float]
"""Logits and loss of what is held out to a score, higher is better."""


def train(params: dict[str, Any], texts: Texts, labels: Any, eval_set: Any) -> tuple[Trained, BaseException | None]:
    """Train a classifier of texts.

    Parameters
    ----------
    params : dict
        The parameters of `TextClassifier`, unchecked.
    texts, labels : sequence
        The training set.
    eval_set : tuple or None
        ``(texts, labels)`` to choose the best weights by.

    Returns
    -------
    trained : Trained
    stopped : BaseException or None
        What stopped the run before its end; to be raised once `trained` is stored.

    Raises
    ------
    BaseException
        Bad input, or what stopped the run before its first step was done.
    """
    run = prepare(params, texts, labels, eval_set)
    classes, held_out, metric = run.classes, run.held_out, params["metric"]
    run.check_memory()
    warn_truncated(run.data.encodings, *([] if held_out is None else [held_out.encodings]))

    def scorer(found: NDArray[np.float32], eval_loss: float) -> float:
        assert held_out is not None
        return score(metric, found, eval_loss, held_out.targets, classes)

    def judge(found: NDArray[np.float32], facts: dict[str, Any]) -> Report:
        assert held_out is not None
        return Report.of_logits(found, held_out.targets, classes, facts)

    return execute(run, metric_name(metric), scorer, judge, bool(params["verbose"]))


def execute(
    run: Prepared,
    metric: str,
    scorer: Scorer,
    judge: Callable[[NDArray[np.float32], dict[str, Any]], Report],
    verbose: bool,
) -> tuple[Trained, BaseException | None]:
    """Run what is prepared.

    Parameters
    ----------
    run : Prepared
    metric : str
        Name of what `scorer` measures.
    scorer : callable
        Scores the logits of what is held out.
    judge : callable
        ``judge(logits, facts)`` makes the report on what is held out.
    verbose : bool
        Show a bar.

    Returns
    -------
    As `train`; and it raises what `train` raises.
    """

    def finite(found: NDArray[np.float32], eval_loss: float) -> float:
        value = scorer(found, eval_loss)
        if not isfinite(value):
            raise ValueError(f"metric {metric} returned {value}; it must be finite to choose the best weights")
        return value

    data, options = run.data, run.options
    monitor = FitMonitor(metric, finite, verbose)
    head = Probe.of(run, verbose) if run.is_solved or run.starts_solved else None
    try:
        model, facts, stopped = (
            head.finish(run, monitor) if run.is_solved and head is not None else _stepped(run, monitor, head)
        )
    finally:
        monitor.close()
    if model is None:
        raise stopped or _core.TrainingError("the run ended before its first step was done")
    history = History.of_run(facts.pop("history"), metric, facts["best_step"])
    classes = run.classes
    try:
        report = _report(model, facts, stopped, run, monitor, judge)
    except BaseException as error:  # a second Ctrl-C must not cost the trained model
        report, stopped = (
            Report(classes=classes.values.tolist(), training=_facts(facts, stopped or error, run.choices)),
            stopped or error,
        )
    max_length = data.encodings.max_length
    return Trained(model, classes, history, report, options["seed"], facts["steps"], max_length, run.pairs), stopped


def _stepped(
    run: Prepared, monitor: FitMonitor, head: Probe | None
) -> tuple[_core.Classifier | None, dict[str, Any], BaseException | None]:
    data, held_out = run.data, run.held_out
    return _core.Classifier.fit(
        run.backbone._inner,
        data.encodings,
        data.targets,
        None if held_out is None else held_out.encodings,
        None if held_out is None else held_out.targets,
        json.dumps(run.options),
        monitor,
        None if head is None else (head.solution.weight, head.solution.bias),
    )


def prepare(params: dict[str, Any], texts: Texts, labels: Any, eval_set: Any) -> Prepared:
    """Check parameters and encode data, as `train` takes them.

    Raises
    ------
    TypeError, ValueError, DataError, DeviceError
        They do not fit.
    """
    backbone = with_pooling(require_backbone(params["backbone"]), params["pooling"])
    check_metric(params["metric"])
    options = fit_options(params, eval_set is not None)
    max_length = optional_positive_int("max_length", params["max_length"])
    encodings = encode(backbone._inner, texts, max_length)
    if not len(encodings):
        raise ValueError("texts is empty; at least two texts of two classes are needed to train")
    classes = Classes.learn(labels, len(encodings), bool(params["multi_label"]))
    data = Labelled(encodings, classes.encode(labels, len(encodings)))
    pairs = are_pairs(texts)
    if pairs and not classes.multi_label and normalise(texts)[1] == classes.read(labels, len(encodings)).tolist():
        raise ValueError("texts has the labels as its second column; pass the column of texts alone, as data['text']")
    held_out = None if eval_set is None else _eval_data(backbone, eval_set, classes, max_length, pairs)
    options["multi_label"], options["n_outputs"] = bool(params["multi_label"]), len(classes)
    options["class_weight"] = class_weights(params["class_weight"], classes, data.targets)
    return settle(params, options, backbone, classes, data, held_out, pairs)


def settle(
    params: dict[str, Any],
    options: dict[str, Any],
    backbone: Backbone,
    classes: Classes,
    data: Labelled,
    held_out: Labelled | None,
    pairs: bool | None = None,
) -> Prepared:
    """Choose what the parameters leave open, now that the data are known, as `Prepared`.

    Raises
    ------
    TypeError, ValueError
        A parameter is not as it should be, or given twice.
    """
    strategy = require_strategy(params["strategy"])
    resolved, choices = resolve(params, backbone.hidden_size, len(data.encodings))
    options = {**options, **resolved, "batch_tokens": batch_tokens_of(params, data.encodings)}
    is_linear = backbone._inner.has_linear_head(options.get("task") == "words")
    asked = steps_asked(params)
    is_solved = isinstance(strategy, LinearProbing) and is_linear and not asked
    if isinstance(strategy, LinearProbing):
        choices = {"head": _how(is_linear, asked), **({} if is_solved else choices)}
    elif is_linear:
        choices["head"] = Choice("solved, then trained", "a head at its optimum moves the layers below less")
    prepared = Prepared(
        backbone,
        options,
        classes,
        data,
        held_out,
        choices,
        is_solved,
        is_linear and not isinstance(strategy, LinearProbing),
        pairs,
    )
    for doubt in _doubts(params, prepared):
        warnings.warn(doubt, UserWarning, stacklevel=caller_level())
    return prepared


def _doubts(params: dict[str, Any], run: Prepared) -> list[str]:
    """Say what is asked and has no effect, or most likely not the one that is meant."""
    found = []
    if run.held_out is None and params["metric"] not in ("accuracy", "f1"):
        name = metric_name(params["metric"])
        found.append(f"metric={name!r} has no effect without fit(..., eval_set=(texts, labels)) to choose weights by")
    longest, budget = int(run.data.encodings.lengths().max()), run.options["batch_tokens"]
    if budget < longest:
        found.append(
            f"batch_tokens={budget} is less than the longest text, which has {longest} tokens: such texts are "
            f"batches of their own; give at least {longest}, or cut texts by max_length={budget}"
        )
    rate = run.options["strategy"]["learning_rate"]
    most, usual = (1.0, "1e-3 to 1e-1") if run.options["strategy"]["method"] == LinearProbing.method else _FINE_TUNING
    if rate > most:
        found.append(f"learning_rate={rate:g} is beyond reason and most likely destroys the model; usual are {usual}")
    return found


def _how(is_linear: bool, asked: list[str]) -> Choice:
    """Say whether the head of a `LinearProbing` is solved or trained in steps, and why."""
    if not is_linear:
        return Choice("trained in steps", "it has more than one layer that is not pretrained")
    if asked:
        return Choice("trained in steps", f"as {' and '.join(asked)} asked")
    return Choice("solved", "it is one linear map: learning_rate, epochs and schedule do not apply")


def logits(
    model: _core.Classifier, encodings: _core.Encodings, precision: str, verbose: bool, description: str
) -> NDArray[np.float32]:
    """Compute logits ``[N, C]`` in input order, with a bar where it takes more than a second."""
    if not len(encodings):
        return np.empty((0, model.n_outputs), dtype=np.float32)
    with TokenBar(encodings.n_tokens, description, verbose, delay_s=1.0) as bar:
        return model.logits(encodings, EMBED_BATCH_TOKENS, precision, bar.callback)


def class_weights(class_weight: Any, classes: Classes, targets: Targets) -> list[float] | None:
    """Return a weight for each class.

    Parameters
    ----------
    class_weight : None, "balanced" or dict
        "balanced" is scikit-learn's: inverse to how often a class occurs, 1 where all occur alike, and for one that
        occurs nowhere. A dict gives weights by label; a class it does not name weighs 1.
    classes : Classes
        The C classes.
    targets : ndarray
        Class indices ``[N]`` or 0/1 ``[N, C]``.

    Raises
    ------
    TypeError, ValueError
        It is something else, names an unknown label, or a weight is negative or not finite.
    """
    if class_weight is None:
        return None
    names = classes.values.tolist()
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in names]
        if unknown:
            raise ValueError(
                f"class_weight names {unknown[0]!r}, which is no label of the training set; known are {names}"
            )
        weights = [float(class_weight.get(name, 1.0)) for name in names]
        for name, weight in zip(names, weights, strict=True):
            if not (isfinite(weight) and weight >= 0):
                raise ValueError(f"class_weight[{name!r}] must be finite and at least 0, got {weight}")
        return weights
    if class_weight == "balanced":
        found = np.nonzero(targets)[1] if classes.multi_label else targets.astype(np.int64)
        counts = np.bincount(found, minlength=len(names))
        n_present = np.count_nonzero(counts)
        return [len(found) / (n_present * count) if count else 1.0 for count in counts.tolist()]
    raise ValueError(f"class_weight must be None, 'balanced' or a dict of label: weight, got {class_weight!r}")


def fit_options(params: dict[str, Any], has_eval_set: bool) -> dict[str, Any]:
    """Check the parameters that all trained estimators have, and return them as the core's options.

    Raises
    ------
    TypeError, ValueError, DeviceError
        One is not as it should be.
    """
    check_compute(params["precision"], params["device"])
    require_strategy(params["strategy"])
    options = {
        "precision": params["precision"],
        "recompute": flag("recompute", params["recompute"]),
        "accumulation_steps": positive_int("accumulation_steps", params["accumulation_steps"]),
        "eval_every": optional_positive_int("eval_every", params["eval_every"]),
        "patience": optional_positive_int("patience", params["patience"]),
        "seed": as_seed(params["random_state"]),
    }
    for name in ("eval_every", "patience"):
        if options[name] is not None and not has_eval_set:
            raise ValueError(
                f"{name}={options[name]} needs texts to evaluate on; pass fit(..., eval_set=(texts, labels)) "
                f"or set {name}=None"
            )
    return options


def _eval_data(
    backbone: Backbone, eval_set: Any, classes: Classes, max_length: int | None, pairs: bool | None
) -> Labelled:
    if not isinstance(eval_set, tuple | list) or len(eval_set) != 2:
        raise TypeError(f"eval_set must be a tuple (texts, labels), got {type(eval_set).__name__}")
    check_kind(eval_set[0], pairs, "eval_set texts")
    encodings = encode(backbone._inner, eval_set[0], max_length, "eval_set texts")
    if not len(encodings):
        raise ValueError("eval_set holds no texts; pass eval_set=None to train without evaluation")
    return Labelled(encodings, classes.encode(eval_set[1], len(encodings), "eval_set labels"))


def batch_tokens_of(params: dict[str, Any], encodings: _core.Encodings) -> int:
    """Return the budget of a batch in tokens: as given, or `batch_size` times the mean length.

    Raises
    ------
    TypeError, ValueError
        One of the two is not as it should be, or both are given.
    """
    batch_tokens, batch_size = params["batch_tokens"], optional_positive_int("batch_size", params["batch_size"])
    if isinstance(batch_tokens, str) and batch_tokens == "auto":
        lengths = encodings.lengths()
        return max(round((batch_size or BATCH_SIZE) * float(lengths.mean())), int(lengths.max()))
    if batch_size is not None:
        raise ValueError(f"batch_size={batch_size} and batch_tokens={batch_tokens!r} are both given; leave one out")
    return positive_int("batch_tokens", batch_tokens, " or 'auto'")


def _facts(facts: dict[str, Any], stopped: BaseException | None, choices: dict[str, Choice]) -> dict[str, Any]:
    return {
        **facts,
        "choices": {name: [choice.value, choice.why] for name, choice in choices.items()},
        "tokens_per_s": facts["tokens"] / max(facts["elapsed_s"], 1e-9),
        "peak_memory_bytes": _core.peak_memory_bytes(),
        "stopped_by": None if stopped is None else type(stopped).__name__,
    }


def _report(
    model: _core.Classifier,
    facts: dict[str, Any],
    stopped: BaseException | None,
    run: Prepared,
    monitor: FitMonitor,
    judge: Callable[[NDArray[np.float32], dict[str, Any]], Report],
) -> Report:
    training, held_out = _facts(facts, stopped, run.choices), run.held_out
    final = None
    if facts["best_step"] is not None and monitor.best_step == facts["best_step"]:
        final = monitor.best_logits
    elif held_out is not None and stopped is None:
        final = logits(model, held_out.encodings, run.options["precision"], False, "evaluating")
    if held_out is None or final is None:
        return Report(classes=run.classes.values.tolist(), training=training)
    return judge(final, training)
