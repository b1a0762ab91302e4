"""A classifier's training run: options checked, data encoded, the core called, its results gathered."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.border import training_options
from warmstart.classification import Classification
from warmstart.classifier_backbone import with_published_head
from warmstart.defaults import IN_STEPS, SOLVED
from warmstart.doubts import of_evaluation, of_run
from warmstart.history import History
from warmstart.holding_out import hold_out
from warmstart.labels import Classes, is_unnamed_matrix
from warmstart.monitor import FitMonitor, tell_finished
from warmstart.opening import opened, with_pooling
from warmstart.options import EMBED_BATCH_TOKENS, optional_positive_int
from warmstart.policies import fraction_held_out
from warmstart.prepared import Labelled, Prepared
from warmstart.preparing import class_weights, fit_options, settle, smoothing
from warmstart.probe import Probe
from warmstart.progress import TokenBar
from warmstart.report import Report
from warmstart.scores import check_metric, metric_name
from warmstart.texts import Texts, are_pairs, check_kind, encode, refuse_labels_beside
from warmstart.warn import warn, warn_unlearnt
from warmstart.weights import Weights, read_weights


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run leaves behind: the model, what its outputs mean, and how it went."""

    model: _core.TaskModel
    classes: Classes
    history: History
    report: Report
    random_state: int | None
    """The seed used; None of a published model, whose training is not known."""
    n_iter: int
    max_length: int | None = None
    """Where texts are cut, in tokens; None where an older version pickled it: what the backbone says."""
    pairs: bool | None = None
    """Whether texts were pairs; None where that is not known."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What was pickled by version 0.2 did not know of several labels in the core.
        classes = state["classes"]
        task = Classification(classes, of_words=state["model"].of_words)
        self.__dict__.update(state, model=state["model"].with_task(task.inner))


Scorer = Callable[[NDArray[np.float32], float], float]
"""Logits and loss of what is held out to a score, higher is better."""


def train(
    params: dict[str, Any], texts: Texts, labels: Any, sample_weight: Any, eval_set: Any
) -> tuple[Trained, BaseException | None]:
    """Train a classifier of texts.

    Parameters
    ----------
    params : dict
        The parameters of `TextClassifier`, unchecked.
    texts, labels : sequence
        The training set.
    sample_weight : sequence of float or None
        Weights of its texts.
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
    run = prepare(params, texts, labels, sample_weight, eval_set)
    held_out, task, metric = run.held_out, run.task, params["metric"]
    run.check_memory()

    def scorer(found: NDArray[np.float32], eval_loss: float) -> float:
        assert held_out is not None
        return task.score(metric, found, eval_loss, held_out.targets)

    def judge(found: NDArray[np.float32], facts: dict[str, Any]) -> Report:
        assert held_out is not None
        return task.report(found, held_out.targets, facts)

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
        try:
            value = scorer(found, eval_loss)
        except (TypeError, ValueError) as error:
            if type(error) not in (TypeError, ValueError):
                raise
            raise type(error)(f"metric {metric}: {error}") from error
        if not isfinite(value):
            raise ValueError(f"metric {metric} returned {value}; it must be finite to choose the best weights")
        return value

    data, options = run.data, run.options
    monitor = FitMonitor(metric, finite, verbose)
    head = None if run.head == IN_STEPS else Probe.of(run, verbose)
    if head is not None and head.gain is not None:
        run = run.with_little_gain(head.gain)
    if run.head == SOLVED and options["checkpoint_dir"] is not None:
        warn("checkpoint_dir has no effect here: the head is solved for at once, and nothing is trained in steps")
    try:
        model, facts, stopped = (
            head.finish(run, monitor) if head is not None and run.head == SOLVED else _stepped(run, monitor, head)
        )
    finally:
        monitor.close()
    if model is None:
        raise stopped or _core.TrainingError("the run ended before its first step was done")
    history = History.of_run(facts.pop("history"), metric, facts["best_step"])
    try:
        report = _report(model, facts, stopped, run, monitor, judge)
    except BaseException as error:  # a second Ctrl-C must not cost the trained model
        report, stopped = run.task.blank_report(_facts(facts, stopped or error, run)), stopped or error
    if stopped is None:
        stopped = _doubted(run, model, head, facts, report, metric)
    max_length = data.encodings.max_length
    return Trained(
        model, run.task.classes, history, report, options["seed"], facts["steps"], max_length, run.pairs
    ), stopped


def _doubted(
    run: Prepared, model: _core.TaskModel, head: Probe | None, facts: dict[str, Any], report: Report, metric: str
) -> BaseException | None:
    """Warn of what the model did not learn or learn now; return what that raised, which must not cost the model."""

    def ask(texts: NDArray[np.int64]) -> NDArray[np.float32]:
        some, items = run.data.encodings.select(texts.tolist())
        if head is not None and head.features is not None:
            return head.solution.logits(head.features[items])
        return model.outputs(some, EMBED_BATCH_TOKENS, run.options["precision"], None)

    try:
        if facts.get("was_finished"):
            tell_finished(run.options["checkpoint_dir"], facts["steps"])
        for doubt in [*of_run(run, facts["steps"], ask), *of_evaluation(run, report, metric)]:
            warn_unlearnt(doubt)
    except BaseException as error:
        return error
    return None


def _stepped(
    run: Prepared, monitor: FitMonitor, head: Probe | None
) -> tuple[_core.TaskModel | None, dict[str, Any], BaseException | None]:
    data, held_out = run.data, run.held_out
    return _core.TaskModel.fit(
        run.backbone._inner,
        run.task.inner,
        data.encodings,
        data.targets,
        None if held_out is None else held_out.encodings,
        None if held_out is None else held_out.targets,
        training_options(run.options),
        monitor,
        sample_weight=data.text_weights(),
        start=None if head is None else (head.solution.weight, head.solution.bias),
        head=run.model,
    )


def prepare(params: dict[str, Any], texts: Texts, labels: Any, sample_weight: Any, eval_set: Any) -> Prepared:
    """Check parameters and encode data, as `train` takes them.

    Raises
    ------
    TypeError, ValueError, DataError, DeviceError
        They do not fit.
    """
    given = opened(params["backbone"], params["verbose"])
    backbone = with_pooling(given, params["pooling"])
    check_metric(params["metric"])
    fraction = fraction_held_out(params, eval_set)
    options = fit_options(params, eval_set is not None or fraction is not None)
    max_length = optional_positive_int("max_length", params["max_length"])
    encodings = encode(backbone._inner, texts, max_length)
    if not len(encodings):
        raise ValueError("texts is empty; at least two texts of two classes are needed to train")
    classes = Classes.learn(labels, len(encodings), bool(params["multi_label"]))
    by_place = classes.multi_label and is_unnamed_matrix(labels)
    classes, model = with_published_head(given, classes, False, params["pooling"], by_place)
    weights = read_weights(sample_weight, len(encodings))
    data = _weighted(Labelled(encodings, classes.encode(labels, len(encodings))), weights)
    pairs = are_pairs(texts)
    if pairs and not classes.multi_label:
        refuse_labels_beside(texts, classes.read(labels, len(encodings)).tolist())
    held_out = None if eval_set is None else _eval_data(backbone, eval_set, classes, max_length, pairs)
    if fraction is not None:
        data, held_out = _divided(data, fraction, options["seed"])
    weight = class_weights(params["class_weight"], classes, data.targets)
    task = Classification(classes, class_weight=weight, label_smoothing=smoothing(params["label_smoothing"]))
    return settle(params, options, backbone, task, data, held_out, "accuracy", pairs, fraction, model)


def outputs(
    model: _core.TaskModel, encodings: _core.Encodings, precision: str, verbose: bool, description: str
) -> NDArray[np.float32]:
    """Compute what the head says, ``[N, C]`` in input order, with a bar where it takes more than a second."""
    if not len(encodings):
        return np.empty((0, model.n_outputs), dtype=np.float32)
    with TokenBar(encodings.n_tokens, description, verbose, delay_s=1.0) as bar:
        return model.outputs(encodings, EMBED_BATCH_TOKENS, precision, bar.callback)


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


def _weighted(data: Labelled, weights: Weights | None) -> Labelled:
    """Return texts with their weights ``[N]``; those of weight 0 are left out, and weights that are then all alike."""
    if weights is None:
        return data
    return Labelled(data.encodings, data.targets, weights).select(np.flatnonzero(weights))


def _divided(data: Labelled, fraction: float, seed: int) -> tuple[Labelled, Labelled]:
    """Return the texts to train on, and those held out."""
    targets = data.targets
    labels = [np.flatnonzero(row) for row in targets] if targets.ndim == 2 else targets[:, None]
    train, held_out = (data.select(rows) for rows in hold_out([own.tolist() for own in labels], fraction, seed))
    return train, held_out


def _facts(facts: dict[str, Any], stopped: BaseException | None, run: Prepared) -> dict[str, Any]:
    return {
        **facts,
        "choices": {name: [choice.value, choice.why] for name, choice in run.choices.items()},
        "tokens_per_s": facts["tokens"] / max(facts["elapsed_s"], 1e-9),
        "peak_memory_bytes": _core.peak_memory_bytes(),
        "stopped_by": None if stopped is None else type(stopped).__name__,
    }


def _report(
    model: _core.TaskModel,
    facts: dict[str, Any],
    stopped: BaseException | None,
    run: Prepared,
    monitor: FitMonitor,
    judge: Callable[[NDArray[np.float32], dict[str, Any]], Report],
) -> Report:
    training, held_out = _facts(facts, stopped, run), run.held_out
    final = None
    is_best = run.options["keep"] == "best" and facts["best_step"] is not None
    if is_best and monitor.best_step == facts["best_step"]:
        final = monitor.best_logits
    elif held_out is not None and stopped is None:
        final = outputs(model, held_out.encodings, run.options["precision"], False, "evaluating")
    if held_out is None or final is None:
        return run.task.blank_report(training)
    return judge(final, training)
