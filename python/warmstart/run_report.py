"""`RunReport`: the facts of a training run, common to all kinds of reports."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from warmstart.tables import format_bytes


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class RunReport:
    """Facts of a training run, and the number of texts on which its model was evaluated; either part may be absent.

    Attributes
    ----------
    n_texts : int
        Number of texts evaluated; 0 where there were none.
    loss : float or None
        Mean loss on them.
    training : dict
        ``tokens, elapsed_s, tokens_per_s, peak_memory_bytes, parameters, trainable_parameters, steps, epochs``,
        ``best_step, best_score, kept_step, stopped_early, stopped_by, batch_tokens``, of a head that was solved for
        ``l2``, its penalty, and under ``choices`` for each parameter that was chosen its value and why; empty where
        nothing was trained.
    """

    n_texts: int = 0
    loss: float | None = None
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens_per_s(self) -> float | None:
        """Training tokens per second, evaluation excluded."""
        return self.training.get("tokens_per_s")

    @property
    def elapsed_s(self) -> float | None:
        """Seconds of training, evaluation excluded."""
        return self.training.get("elapsed_s")

    @property
    def peak_memory_bytes(self) -> int | None:
        """Highest resident set of the process up to the end of training."""
        return self.training.get("peak_memory_bytes")

    @property
    def parameters(self) -> int | None:
        """Number of weights."""
        return self.training.get("parameters")

    @property
    def trainable_parameters(self) -> int | None:
        """Number of weights that training changed."""
        return self.training.get("trainable_parameters")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as ``warmstart.json`` stores it."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    def plot(self) -> Any:
        """Draw the plot of this kind of report.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ImportError
            matplotlib is not installed.
        ValueError
            No texts were evaluated.
        """
        if not self.n_texts:
            raise ValueError(
                "there is nothing to plot: no texts were evaluated; use estimator.evaluate(texts, labels).plot()"
            )
        return self._draw()

    def _draw(self) -> Any:
        raise NotImplementedError

    def _quality(self) -> list[tuple[str, str]]:
        """Return lines on quality: name and value."""
        raise NotImplementedError

    def _facts(self) -> list[tuple[str, str]]:
        """Return the lines of the report: quality, then facts of the run."""
        if self.n_texts:
            facts = [("texts evaluated", f"{self.n_texts:,}"), *self._quality()]
        else:
            facts = [("texts evaluated", "none: fit had no eval_set; use estimator.evaluate(texts, labels)")]
        return facts + _run_facts(self.training)


def _run_facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    if not run:
        return []
    is_solved = run.get("l2") is not None
    if is_solved:
        took = f"{run['steps']:,} iteration{'' if run['steps'] == 1 else 's'}"
        training = f"solved in {took}, {run['elapsed_s']:.1f} s, with a penalty of {run['l2']:.2g}"
    else:
        epochs = f"{run['epochs']:.4g} epoch{'' if run['epochs'] == 1 else 's'}"
        training = f"{epochs}, {run['steps']:,} step{'' if run['steps'] == 1 else 's'}, {run['elapsed_s']:.1f} s"
    facts = [
        ("training", training),
        ("speed", f"{run['tokens_per_s']:,.0f} tokens/s"),
        ("trained", f"{run['trainable_parameters']:,} of {run['parameters']:,} parameters"),
        ("peak memory", format_bytes(run["peak_memory_bytes"])),
    ]
    for name, (value, why) in run.get("choices", {}).items():
        facts.append((f"{name} chosen", f"{value}: {why}"))
    kept = run.get("kept_step", run.get("best_step"))
    if kept is not None and not is_solved and run.get("best_step") is not None:
        facts.append(("weights kept", f"of step {kept:,}"))
    if run.get("stopped_early"):
        facts.append(("stopped early", "no improvement"))
    if run.get("stopped_by"):
        facts.append(("stopped by", run["stopped_by"]))
    return facts
