"""Linear probing: a linear head on a frozen backbone; features are computed once, weights are solved for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.defaults import SOLVED, START_TEXTS
from warmstart.monitor import FitMonitor
from warmstart.options import EMBED_BATCH_TOKENS
from warmstart.prepared import Labelled, Prepared
from warmstart.progress import TokenBar
from warmstart.samples import drawn
from warmstart.solve import NO_WEIGHTS, Gain, Solution
from warmstart.tasks import Task

START_A_CLASS, START_ITEMS = 8, 20_000
"""Limits on the data for the initial head: at least so many texts of each class; about so many words to classify.

More would take time and memory, and training soon moves away from the initial head."""

STRONGER = 10.0
"""Factor by which the L2 penalty is raised until the head tolerates dropout."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The solved head, with its time and features."""

    solution: Solution
    seconds: float
    features: NDArray[np.float32] | None = None
    """Features of all items (texts or words), ``[N, D]``; None if the head is only the start of fine-tuning."""
    gain: Gain | None = None
    """Gain of the features over guessing, if it decides how the run continues."""

    @classmethod
    def of(cls, run: Prepared, verbose: bool) -> "Probe":
        """Compute the features of the training data, and solve for the head."""
        started = time.perf_counter()
        data = run.data if run.head == SOLVED else some(run.data, run.task)
        found = features(run, data.encodings, verbose)

        has_bias = run.backbone._inner.head_has_bias(run.of_words)
        solved = run.task.solver(found, data.targets, data.sample_weight, has_bias, run.follows_gain)
        final = solved(None) if run.head == SOLVED or run.follows_gain else None
        gain = None if final is None or final.gain is None or not final.gain.is_little else final.gain
        if final is not None and (run.head == SOLVED or (gain is not None and not gain.is_sure)):
            return cls(final, time.perf_counter() - started, found, gain)
        start = _start(found, data, run, solved)
        return cls(start, time.perf_counter() - started, gain=gain)

    def finish(
        self, run: Prepared, monitor: FitMonitor
    ) -> tuple[_core.TaskModel, dict[str, Any], BaseException | None]:
        """Return the result of `_core.TaskModel.fit` for a head that stays as solved."""
        solution, held_out, options = self.solution, run.held_out, run.options
        encodings = run.data.encodings
        model = _core.TaskModel.with_last_map(run.backbone._inner, run.task.inner, solution.weight, solution.bias)
        row: dict[str, Any] = {
            "step": solution.n_iter,
            "epoch": 1.0,
            "loss": solution.loss,
            "tokens": encodings.n_tokens,
            "elapsed_s": self.seconds,
        }
        score, stopped = None, None
        if held_out is not None:
            try:
                found = model.outputs(held_out.encodings, EMBED_BATCH_TOKENS, options["precision"], None)
                row["eval_loss"] = run.task.loss(found, held_out.targets)
                score = monitor.on_evaluate(found, row)
            except BaseException as error:  # the head is solved: it is kept
                stopped = error
        best = None if score is None else solution.n_iter
        return (
            model,
            {
                "steps": solution.n_iter,
                "epochs": 1.0,
                "tokens": encodings.n_tokens,
                "elapsed_s": self.seconds,
                "best_step": best,
                "best_score": score,
                "kept_step": None,
                "stopped_early": False,
                "batch_tokens": options["batch_tokens"],
                "trainable_parameters": solution.weight.size + solution.bias.size,
                "parameters": model.n_parameters,
                "l2": solution.l2,
                "history": {"rows": [row if score is None else {**row, "score": score}], "curve": []},
            },
            stopped,
        )


def _start(
    found: NDArray[np.float32], data: Labelled, run: Prepared, solved: Callable[[float | None], Solution]
) -> Solution:
    """Return the initial head of fine-tuning, with a penalty strong enough for the dropout of training.

    If features are nearly the same for all texts, as in a model that was hardly trained, their differences are small
    compared with the noise of dropout, and a head that relies on them is worse than guessing once training begins.
    """
    share, l2 = run.backbone._inner.head_dropout(run.of_words), run.task.start_l2
    solution = solved(l2)
    if not share:
        return solution
    rows = drawn(len(found), START_TEXTS)
    of_rows = None if data.sample_weight is None else data.sample_weight[rows]
    kept = np.random.default_rng(0).random((len(rows), found.shape[1]), dtype=np.float32) >= share
    dropped = found[rows] * kept / np.float32(1 - share)

    def loss(solution: Solution) -> float:
        return run.task.loss(solution.logits(dropped), data.targets[rows], of_rows)

    guessing = solved(NO_WEIGHTS)
    while loss(solution) > loss(guessing):
        l2 *= STRONGER
        if l2 >= NO_WEIGHTS:
            return guessing
        solution = solved(l2)
    return solution


def some(data: Labelled, task: Task) -> Labelled:
    """Return the data on which the initial head is solved: a sample of the texts, with a few of each class."""
    encodings, targets = data.encodings, data.targets
    n, n_items = len(encodings), len(targets)
    wanted = max(1, min(START_TEXTS, START_ITEMS * n // n_items))
    if wanted >= n:
        return data
    text_of = np.repeat(np.arange(n), encodings.item_counts())
    texts = np.union1d(drawn(n, wanted), text_of[task.some_of_each(targets, START_A_CLASS)])
    return data.select(texts)


def features(run: Prepared, encodings: _core.Encodings, verbose: bool) -> NDArray[np.float32]:
    """Compute the inputs of the last linear layer, float32 ``[N, D]``, with a bar if it takes more than a second."""
    with TokenBar(encodings.n_tokens, "features", verbose, delay_s=1.0) as bar:
        return _core.TaskModel.features(
            run.backbone._inner, run.task.inner, encodings, EMBED_BATCH_TOKENS, run.options["precision"], bar.callback
        )
