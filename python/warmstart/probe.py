"""A head of one linear map on a frozen backbone: its features computed once, its weights solved for."""

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
from warmstart.samples import drawn, some_of_each
from warmstart.scores import mean_loss
from warmstart.solve import NO_WEIGHTS, Gain, Solution, solve

START_L2, START_CLASSES = 1.0, 6
"""Penalty of the head that fine-tuning begins from: strong, so that the layers below are left something to learn.

Of more classes than the second number it is weaker in proportion: the texts of a class are then few of all.
"""

START_A_CLASS, START_ITEMS = 8, 20_000
"""Of the texts that it is solved on at least so many of each class; and about so many words, where they are classified.

More would take time and memory, and training soon leaves the start behind."""

STRONGER = 10.0
"""By what that penalty grows until the head bears dropout."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The optimum, and what it took."""

    solution: Solution
    seconds: float
    features: NDArray[np.float32] | None = None
    """Of all that is classified, ``[N, D]``; None of a start."""
    gain: Gain | None = None
    """Of the features over guessing, where it decides how the run goes on."""

    @classmethod
    def of(cls, run: Prepared, verbose: bool) -> "Probe":
        """Compute the features of what is trained on, and solve."""
        started, options = time.perf_counter(), run.options
        data = run.data if run.head == SOLVED else some(run.data)
        found = features(run, data.encodings, verbose)

        def solved(l2: float | None) -> Solution:
            return solve(
                found,
                data.targets,
                options["n_outputs"],
                options["multi_label"],
                options["class_weight"],
                options["strategy"]["label_smoothing"],
                l2,
                run.backbone._inner.head_has_bias(run.of_words),
                run.follows_gain,
                data.sample_weight,
            )

        final = solved(None) if run.head == SOLVED or run.follows_gain else None
        gain = None if final is None or final.gain is None or not final.gain.is_little else final.gain
        if final is not None and (run.head == SOLVED or (gain is not None and not gain.is_sure)):
            return cls(final, time.perf_counter() - started, found, gain)
        start = _start(found, data, run, solved)
        return cls(start, time.perf_counter() - started, gain=gain)

    def finish(
        self, run: Prepared, monitor: FitMonitor
    ) -> tuple[_core.Classifier, dict[str, Any], BaseException | None]:
        """Return what `_core.Classifier.fit` returns, of a head that stays as it is solved."""
        solution, held_out, options = self.solution, run.held_out, run.options
        encodings = run.data.encodings
        model = _core.Classifier.with_last_map(run.backbone._inner, run.of_words, solution.weight, solution.bias)
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
                found = model.logits(held_out.encodings, EMBED_BATCH_TOKENS, options["precision"], None)
                weight = None if options["class_weight"] is None else np.array(options["class_weight"])
                row["eval_loss"] = mean_loss(found, held_out.targets, options["multi_label"], weight)
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


def start_l2(n_outputs: int, multi_label: bool) -> float:
    """Return the penalty of the head that fine-tuning begins from."""
    return START_L2 if multi_label else START_L2 * min(1.0, START_CLASSES / n_outputs)


def _start(
    found: NDArray[np.float32], data: Labelled, run: Prepared, solved: Callable[[float | None], Solution]
) -> Solution:
    """Return the head that fine-tuning begins from: with a penalty such that it bears the dropout of training.

    Where features are nearly the same for all texts, as those of a model that was hardly trained, what tells them apart
    is small beside what dropout adds, and a head that reads it is worse than guessing once training begins.
    """
    options, share = run.options, run.backbone._inner.head_dropout(run.of_words)
    l2 = start_l2(options["n_outputs"], options["multi_label"])
    solution = solved(l2)
    if not share:
        return solution
    weight = None if options["class_weight"] is None else np.array(options["class_weight"])
    rows = drawn(len(found), START_TEXTS)
    of_rows = None if data.sample_weight is None else data.sample_weight[rows]
    kept = np.random.default_rng(0).random((len(rows), found.shape[1]), dtype=np.float32) >= share
    dropped = found[rows] * kept / np.float32(1 - share)

    def loss(solution: Solution) -> float:
        return mean_loss(solution.logits(dropped), data.targets[rows], options["multi_label"], weight, of_rows)

    guessing = solved(NO_WEIGHTS)
    while loss(solution) > loss(guessing):
        l2 *= STRONGER
        if l2 >= NO_WEIGHTS:
            return guessing
        solution = solved(l2)
    return solution


def some(data: Labelled) -> Labelled:
    """Return what the head that training begins from is solved on: of many texts some, with a few of each class."""
    encodings, targets = data.encodings, data.targets
    n, n_items = len(encodings), len(targets)
    wanted = max(1, min(START_TEXTS, START_ITEMS * n // n_items))
    if wanted >= n:
        return data
    text_of = np.repeat(np.arange(n), encodings.item_counts())
    texts = np.union1d(drawn(n, wanted), text_of[some_of_each(targets, START_A_CLASS)])
    return data.select(texts)


def features(run: Prepared, encodings: _core.Encodings, verbose: bool) -> NDArray[np.float32]:
    """Compute what the last map takes, float32 ``[N, D]``, with a bar where it takes more than a second."""
    with TokenBar(encodings.n_tokens, "features", verbose, delay_s=1.0) as bar:
        return _core.Classifier.features(
            run.backbone._inner, encodings, EMBED_BATCH_TOKENS, run.options["precision"], bar.callback
        )
