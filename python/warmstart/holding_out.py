"""Hold out a validation set, stratified by label and drawn with the seed of the run."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def hold_out(labels: Sequence[Iterable[Hashable]], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split texts so that both parts have similar label shares, as far as possible, and training has every label.

    Texts are grouped by their sets of labels, and the same share of each group is held out. A text is not held out if
    it is the last training text of one of its labels.

    Parameters
    ----------
    labels : sequence of collections
        The labels of each of the N texts.
    fraction : float
        Part of the texts to hold out.
    seed : int
        Seed of the split: the same seed gives the same split.

    Returns
    -------
    train, held_out : ndarray of int64
        Sorted indices of the texts.

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
    # A text's position is random within its share of the group; the texts that come first are held out.
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
