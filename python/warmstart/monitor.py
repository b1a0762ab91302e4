"""`FitMonitor`: callbacks of a core training run, which compute scores and update the progress bar."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.progress import TokenBar
from warmstart.warn import warn

Scorer = Callable[[NDArray[np.float32], float], float]


class FitMonitor:
    """The monitor of one run.

    Parameters
    ----------
    metric : str
        Name of the metric.
    scorer : callable
        ``scorer(logits, eval_loss)``, higher is better.
    verbose : bool
        Show a bar.

    Attributes
    ----------
    metric : str
        As given.
    best_logits : ndarray of float32, shape (N, C), or None
        Evaluation logits of the best score so far.
    best_step : int or None
        The optimiser step of that evaluation.
    """

    def __init__(self, metric: str, scorer: Scorer, verbose: bool) -> None:
        self.best_logits: NDArray[np.float32] | None = None
        self.best_step: int | None = None
        self._best = (-np.inf, -np.inf)
        self.metric = metric
        self._scorer = scorer
        self._epochs = 1
        self._verbose = verbose
        self._bar: TokenBar | None = None

    def on_start(self, facts: dict[str, Any]) -> None:
        """Open the bar."""
        self._epochs = -(-facts["total_steps"] // facts["steps_per_epoch"])
        done = facts["tokens_done"]
        self._bar = TokenBar(facts["total_tokens"], f"epoch 1/{self._epochs}", self._verbose, already_done=done)

    def on_step(self, record: dict[str, Any]) -> None:
        """Move the bar."""
        self._show(record)

    def on_evaluate(self, logits: NDArray[np.float32], record: dict[str, Any]) -> float:
        """Score the evaluation texts and show it."""
        score = self._scorer(logits, record["eval_loss"])
        # Before the score counts: the core ignores an evaluation that Ctrl-C interrupts here.
        self._show(record if self.metric == "loss" else {**record, self.metric: score})
        # As in the core, the smaller loss decides between equal scores.
        if (score, -record["eval_loss"]) > self._best:
            self._best = (score, -record["eval_loss"])
            self.best_step, self.best_logits = record["step"], logits
        return score

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Show the mean loss."""
        self._show(record)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, record: dict[str, Any]) -> None:
        if self._bar is None:
            return
        shown = {key: f"{record[key]:.4f}" for key in ("loss", "eval_loss", self.metric) if key in record}
        epoch = min(self._epochs, int(np.ceil(record["epoch"])) or 1)
        self._bar.describe(f"epoch {epoch}/{self._epochs}")
        self._bar.move_to(record["tokens"], **shown)


def tell_finished(checkpoint_dir: Any, n_steps: int) -> None:
    """Warn that a checkpoint held the whole run."""
    warn(
        f"{checkpoint_dir}: this run was finished already, after step {n_steps}; nothing was trained. To train on, "
        "begin from this model's backbone_ with another checkpoint_dir"
    )
