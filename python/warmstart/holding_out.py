"""Which texts of a training set are held out, drawn by the seed of the run."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def hold_out(labels: Sequence[Iterable[Hashable]], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Divide texts so that both parts have labels in like shares, as far as they allow, and training has each of them.

    Texts are dealt with label by label, those with the same labels together: of each such group the same part is held
    out. A text is not held out if it is the last one to be trained on with one of its labels.

    Parameters
    ----------
    labels : sequence of collections
        The labels of each of the N texts.
    fraction : float
        Part of the texts to hold out.
    seed : int
        The same gives the same texts.

    Returns
    -------
    train, held_out : ndarray of int64
        Numbers of texts, in order.

    Raises
    ------
    ValueError
        There are too few texts to hold one out.
    """
    sets = [frozenset(own) for own in labels]
    n = len(sets)
    wanted = max(1, round(fraction * n))
    groups: dict[frozenset[Hashable], list[int]] = {}
    random = np.random.default_rng(seed)
    for text in random.permutation(n).tolist():
        groups.setdefault(sets[text], []).append(text)
    # Anywhere in the part of its group that a text stands for: held out are those that come first.
    place = {text: (i + random.random()) / len(group) for group in groups.values() for i, text in enumerate(group)}
    left = Counter(label for own in sets for label in own)
    held: list[int] = []
    for text in sorted(place, key=place.__getitem__):
        if len(held) == wanted or len(held) == n - 1:
            break
        if all(left[label] > 1 for label in sets[text]):
            left.subtract(sets[text])
            held.append(text)
    if not held:
        raise ValueError(
            f"validation_fraction={fraction:g} of {n} texts cannot be held out: each is the only one with one of its "
            "labels; give more texts, or fit(..., eval_set=(texts, labels))"
        )
    out = np.zeros(n, dtype=bool)
    out[held] = True
    return np.flatnonzero(~out), np.flatnonzero(out)
