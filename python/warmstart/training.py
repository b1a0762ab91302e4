"""Runs a training: calls the core and collects the results."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.border import training_options
from warmstart.classification import Classification
from warmstart.defaults import IN_STEPS, SOLVED
from warmstart.doubts import of_evaluation, of_run
from warmstart.history import History
from warmstart.monitor import FitMonitor, tell_finished
from warmstart.options import EMBED_BATCH_TOKENS
from warmstart.prepared import Prepared
from warmstart.probe import Probe
from warmstart.progress import TokenBar
from warmstart.run_report import RunReport
from warmstart.tasks import Target, blank_report
from warmstart.warn import warn, warn_unlearnt


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a run: the model, the targets that its outputs stand for, and the course of training."""

    model: _core.TaskModel
    target: Target
    history: History
    report: RunReport
    random_state: int | None
    """The seed used; None for a published model, whose training is not known."""
    n_iter: int
    max_length: int | None = None
    """Maximum length in tokens; None in pickles of older versions, where it is the backbone's."""
    pairs: bool | None = None
    """Whether texts were pairs; None if that is not known."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "classes" in state:  # of version 0.2, whose models did not tell several labels from one
            classes, model = state.pop("classes"), state["model"]
            task = Classification(classes, of_words=model.of_words)
            state = {**state, "target": classes, "model": model.with_task(task.inner)}
        self.__dict__.update(state)


Scorer = Callable[[NDArray[np.float32], float], float]
"""Computes a score from logits and loss on the validation set, higher is better."""


def execute(
    run: Prepared,
    metric: str,
    scorer: Scorer,
    judge: Callable[[NDArray[np.float32], dict[str, Any]], RunReport],
    verbose: bool,
) -> tuple[Trained, BaseException | None]:
    """Train a prepared run.

    Parameters
    ----------
    run : Prepared
    metric : str
        Name of the metric that `scorer` computes.
    scorer : callable
        Scores the logits of the validation set.
    judge : callable
        ``judge(logits, facts)`` returns the report on the validation set.
    verbose : bool
        Show a bar.

    Returns
    -------
    trained : Trained
    stopped : BaseException or None
        The exception that stopped the run early, to be raised once `trained` is stored; else None.

    Raises
    ------
    BaseException
        The exception that stopped the run before its first step was done.
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
        report, stopped = blank_report(run.task.target, _facts(facts, stopped or error, run)), stopped or error
    if stopped is None:
        stopped = _doubted(run, model, head, facts, report, metric)
    max_length = data.encodings.max_length
    trained = Trained(
        run.task.folded(model), run.task.target, history, report, options["seed"], facts["steps"], max_length, run.pairs
    )
    return trained, stopped


def _doubted(
    run: Prepared, model: _core.TaskModel, head: Probe | None, facts: dict[str, Any], report: RunReport, metric: str
) -> BaseException | None:
    """Warn of what the model did not learn; return an exception raised by a warning, so that the model is not lost."""

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


def outputs(
    model: _core.TaskModel, encodings: _core.Encodings, precision: str, verbose: bool, description: str
) -> NDArray[np.float32]:
    """Compute the outputs of the head, ``[N, C]`` in input order, with a bar if it takes more than a second."""
    if not len(encodings):
        return np.empty((0, model.n_outputs), dtype=np.float32)
    with TokenBar(encodings.n_tokens, description, verbose, delay_s=1.0) as bar:
        return model.outputs(encodings, EMBED_BATCH_TOKENS, precision, bar.callback)


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
    judge: Callable[[NDArray[np.float32], dict[str, Any]], RunReport],
) -> RunReport:
    training, held_out = _facts(facts, stopped, run), run.held_out
    final = None
    is_best = run.options["keep"] == "best" and facts["best_step"] is not None
    if is_best and monitor.best_step == facts["best_step"]:
        final = monitor.best_logits
    elif held_out is not None and stopped is None:
        final = outputs(model, held_out.encodings, run.options["precision"], False, "evaluating")
    if held_out is None or final is None:
        return blank_report(run.task.target, training)
    return judge(final, training)
