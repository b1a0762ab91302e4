"""Defaults of training runs: learning rate, epochs and batch size follow from the data and the model."""

from math import ceil, sqrt
from typing import Any, Protocol

from warmstart.plan import Choice

BATCH_SIZE = 16
"""Mean number of texts in a batch."""

EPOCHS = 3
"""Minimum number of epochs."""

LEAST_STEPS = 60
"""Minimum number of optimiser steps of fine-tuning: with fewer, small training sets hardly change the model."""

RATED_WIDTH = 384
"""Hidden size for which strategies give their rate; it falls with the square root of the hidden size."""

OF_WORDS = 2.0
"""Factor on the learning rate for token classification: a batch of texts has many words to classify."""

GOING_ON = 0.2
"""Factor on the learning rate where training goes on from the head of a published model.

Chosen on the dev parts of sst2, trec and sick: MiniLM on 300 texts, saved, opened and trained on 200 or 40 others.
"""

PROBING_EPOCHS = 30

SOLVED, SOLVED_FIRST, IN_STEPS = "solved", "solved, then trained", "trained in steps"
"""How a head is trained: solved for as a linear map; in steps from such a solution; in steps from random weights."""

START_TEXTS = 1000
"""Maximum number of texts, sampled from more, on which the initial head of fine-tuning is solved."""

RISK = 0.08
"""Overfitting may lower the accuracy if the share of the most frequent label exceeds the accuracy of proportional
guessing by this much; for two labels, if the more frequent one has 60 to 90% of the texts."""

HARDLY = 0.9
"""A loss above this share of the loss of guessing counts as hardly better than guessing."""

SURE = 2.0
"""Number of standard errors from which on the leave-one-out gain of features over guessing counts as certain."""

SLOWER, MORE_EPOCHS = 0.5, 5
"""Factor on the learning rate, and minimum epochs, if features gain little over guessing, but certainly."""

START_L2, START_CLASSES = 1.0, 6
"""L2 penalty of the head from which fine-tuning starts: strong, so that the layers below still get gradients.

With more classes than the second number it falls in proportion, because each class then has a small share of the texts.
"""

STEPPED = ("learning_rate", "optimizer", "epochs", "max_steps", "eval_every", "patience", "early_stopping")
"""Parameters of an estimator that only apply to a run in optimiser steps."""


class Learns(Protocol):
    """The properties of a strategy from which defaults follow."""

    @property
    def is_of_head_alone(self) -> bool:
        """Whether the backbone is frozen."""

    @property
    def rate(self) -> float:
        """Learning rate for hidden states of `RATED_WIDTH` values."""


def learning_rate(strategy: Learns, hidden_size: int, of_words: bool, goes_on: bool = False) -> Choice:
    """Choose the peak learning rate of a strategy, for hidden states of this many values.

    Where it `goes_on` from a head that was trained, large steps would lose what that has learnt.
    """
    factor = GOING_ON if goes_on else 1.0
    if strategy.is_of_head_alone:
        why = "a head that was trained goes on slowly" if goes_on else "a new head alone learns fast"
        return Choice(factor * strategy.rate, why)
    rated = factor * strategy.rate * (OF_WORDS if of_words else 1.0)
    what = f"{' where words are tagged' if of_words else ''}{' and a trained head goes on' if goes_on else ''}"
    return Choice(
        float(f"{rated * sqrt(RATED_WIDTH / hidden_size):.1e}"),
        f"{rated:g} for hidden states of {RATED_WIDTH} values{what}, less by the root of the width: {hidden_size}",
    )


def epochs(strategy: Learns, n_texts: int, steps: int) -> Choice:
    """Choose the number of epochs over `n_texts` texts, with about `steps` optimiser steps each.

    Small training sets get more epochs, until there are `LEAST_STEPS` steps.
    """
    if strategy.is_of_head_alone:
        return Choice(PROBING_EPOCHS, "the frozen part is computed once: passes cost little")
    passes = max(EPOCHS, ceil(LEAST_STEPS / steps))
    return Choice(passes, f"about {steps:,} steps a pass over {n_texts:,} texts, at least {LEAST_STEPS} in all")


def how_head_learns(strategy: Learns, is_linear: bool, asked: list[str], is_solvable: bool = True) -> Choice:
    """Choose between `SOLVED`, `SOLVED_FIRST` and `IN_STEPS`.

    Parameters
    ----------
    strategy : Strategy
    is_linear : bool
        Whether the head's last linear map is its only new layer.
    asked : list of str
        Parameters set by the user that require training in steps.
    is_solvable : bool
        Whether there is a solver for the loss.
    """
    if not is_linear:
        return Choice(IN_STEPS, "it has more than one layer that is not pretrained")
    if not strategy.is_of_head_alone:
        return Choice(
            SOLVED_FIRST, "with a strong penalty, so that training begins from a direction and not from chance"
        )
    if asked:
        return Choice(IN_STEPS, f"as {' and '.join(asked)} asked")
    if not is_solvable:
        return Choice(IN_STEPS, "there is no solver for its loss")
    return Choice(SOLVED, "it is one linear map: learning_rate, optimizer, epochs and batches do not apply")


def steps_asked(params: dict[str, Any]) -> list[str]:
    """Return the parameters that require a `LinearProbing` to be trained in steps."""
    return [name for name in STEPPED if params[name] not in (None, False)]
