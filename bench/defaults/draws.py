"""Seeded draws of training texts, and a dev part that none of them has seen."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from bench.defaults.texts import FULL, PER_CLASS, DataSet, Examples, Splits

N_DRAWS = 10
DEV_ROWS = 1000


def draw(labels: Sequence[Hashable], size: str, seed: int, stratified: bool) -> list[int]:
    """Rows of one draw without replacement, in random order.

    Parameters
    ----------
    labels
        Of the pool, row by row.
    size
        "8-a-class" is 8 of every class, "full" all rows, else how many.
    stratified
        In the pool's proportions, see `quotas`; otherwise a class may be missing.

    Raises
    ------
    ValueError
        A class, or the pool, has fewer rows than asked for.
    """
    chance = random.Random(seed)
    if size == FULL:
        return list(range(len(labels)))
    if size == PER_CLASS:
        wanted = dict.fromkeys(labels, 8)
    elif stratified:
        wanted = quotas(Counter(labels), int(size))
    else:
        return chance.sample(range(len(labels)), int(size))
    of_class: dict[Hashable, list[int]] = {label: [] for label in wanted}
    for row, label in enumerate(labels):
        of_class[label].append(row)
    rows = [row for label in of_class for row in chance.sample(of_class[label], wanted[label])]
    chance.shuffle(rows)
    return rows


def quotas(counts: Mapping[Hashable, int], size: int) -> dict[Hashable, int]:
    """Split ``size`` in proportion to ``counts`` by largest remainders, at least one each where ``size`` allows."""
    total = sum(counts.values())
    least = int(size >= len(counts))
    found = {label: max(least, size * count // total) for label, count in counts.items()}

    def lacking(label: Hashable) -> int:
        return size * counts[label] - total * found[label]  # its share less what it has, in units of 1 / total

    while sum(found.values()) < size:
        found[max(found, key=lacking)] += 1
    while sum(found.values()) > size:
        found[min((label for label in found if found[label] > least), key=lacking)] -= 1
    return found


def dev_part(data: DataSet, splits: Splits, size: str) -> Examples:
    """What learning rates are chosen on: texts of the published dev file, else of the pool that no draw of a size has.

    At most 1,000, in proportion; of entities the whole dev file. A text that occurs twice in the pool counts as drawn
    wherever it stands. However many draws are made, all ten are kept out.
    """
    if splits.dev is not None:
        rest = splits.dev
    else:
        pool = splits.pool
        rows = {row for seed in range(N_DRAWS) for row in draw(pool.labels, size, seed, data.stratified)}
        drawn = {pool.texts[row] for row in rows}
        rest = pool.rows(row for row in range(len(pool)) if pool.texts[row] not in drawn)
    if data.entities:
        return rest
    return rest.rows(draw(rest.labels, str(min(DEV_ROWS, len(rest))), 0, stratified=True))
