"""What a run does where nothing was asked for: rate, length and batches follow the data and the model."""

from math import ceil, sqrt
from typing import Any, Protocol

from warmstart.plan import Choice

BATCH_SIZE = 16
"""Texts in a batch, on average."""

EPOCHS = 3
"""Passes over the texts at least."""

LEAST_STEPS = 60
"""Optimiser steps of a fine-tuning run at least: fewer leave a model of few texts where it was."""

FINE_TUNING_RATE = 1e-4
"""Of models whose hidden states have `RATED_WIDTH` values; it falls with the square root of the width."""

RATED_WIDTH = 384

OF_WORDS = 2.0
"""What the rate is multiplied by where words are classified: a batch of texts is many of them."""

GOING_ON = 0.1
"""What the rate is multiplied by where training goes on from the head of a published model."""

PROBING_RATE = 1e-2
PROBING_EPOCHS = 30

SOLVED, SOLVED_FIRST, IN_STEPS = "solved", "solved, then trained", "trained in steps"
"""How a head learns: to the optimum of a linear map, from such a map on, or from random weights on."""

START_TEXTS = 1000
"""Texts that the head is solved on that fine-tuning begins from, drawn from more."""

RISK = 0.08
"""Share of texts that the commonest label alone gets right beyond what guessing in proportion does, from which on
learning texts by heart costs something; of two labels with 60 to 90% of the commoner."""

HARDLY = 0.9
"""A loss above this share of that of guessing is hardly better than guessing."""

SURE = 2.0
"""Standard errors of the gain of features over guessing, each text left out in turn, from which on it is sure."""

SLOWER, MORE_EPOCHS = 0.5, 5
"""Factor of the rate, and passes at least, where features gain surely over guessing and yet hardly."""

START_L2, START_CLASSES = 1.0, 6
"""Penalty of the head that fine-tuning begins from: strong, so that the layers below are left something to learn.

Of more classes than the second number it is weaker in proportion: the texts of a class are then few of all.
"""

STEPPED = ("learning_rate", "optimizer", "epochs", "max_steps", "eval_every", "patience", "early_stopping")
"""Parameters of an estimator that only a run in steps has."""


class Learns(Protocol):
    """What a strategy says of what learns."""

    @property
    def is_of_head_alone(self) -> bool:
        """Whether the backbone stays as it is."""


def learning_rate(strategy: Learns, hidden_size: int, of_words: bool, goes_on: bool = False) -> Choice:
    """Choose the peak learning rate of a strategy, for hidden states of this many values.

    Where it `goes_on` from a head that was trained, large steps would lose what that has learnt.
    """
    factor = GOING_ON if goes_on else 1.0
    if strategy.is_of_head_alone:
        why = "a head that was trained goes on slowly" if goes_on else "a new head alone learns fast"
        return Choice(factor * PROBING_RATE, why)
    rated = factor * FINE_TUNING_RATE * (OF_WORDS if of_words else 1.0)
    what = f"{' where words are tagged' if of_words else ''}{' and a trained head goes on' if goes_on else ''}"
    return Choice(
        float(f"{rated * sqrt(RATED_WIDTH / hidden_size):.1e}"),
        f"{rated:g} for hidden states of {RATED_WIDTH} values{what}, less by the root of the width: {hidden_size}",
    )


def epochs(strategy: Learns, n_texts: int, steps: int) -> Choice:
    """Choose the passes over `n_texts` texts, each of about so many optimiser steps.

    Few texts are passed over more often, until there are `LEAST_STEPS` of them.
    """
    if strategy.is_of_head_alone:
        return Choice(PROBING_EPOCHS, "the frozen part is computed once: passes cost little")
    passes = max(EPOCHS, ceil(LEAST_STEPS / steps))
    return Choice(passes, f"about {steps:,} steps a pass over {n_texts:,} texts, at least {LEAST_STEPS} in all")


def how_head_learns(strategy: Learns, is_linear: bool, asked: list[str]) -> Choice:
    """Choose between `SOLVED`, `SOLVED_FIRST` and `IN_STEPS`.

    Parameters
    ----------
    strategy : Strategy
    is_linear : bool
        Whether the last map of the head is all that is new of it.
    asked : list of str
        Parameters that ask for steps.
    """
    if not is_linear:
        return Choice(IN_STEPS, "it has more than one layer that is not pretrained")
    if not strategy.is_of_head_alone:
        return Choice(
            SOLVED_FIRST, "with a strong penalty, so that training begins from a direction and not from chance"
        )
    if asked:
        return Choice(IN_STEPS, f"as {' and '.join(asked)} asked")
    return Choice(SOLVED, "it is one linear map: learning_rate, optimizer, epochs and batches do not apply")


def steps_asked(params: dict[str, Any]) -> list[str]:
    """Return which parameters ask that a `LinearProbing` be trained in steps."""
    return [name for name in STEPPED if params[name] not in (None, False)]
