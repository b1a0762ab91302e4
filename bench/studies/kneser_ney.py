"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998, section 3)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

Gram = tuple[int, ...]
START = -1  # stands before a sequence; it is never predicted and no context has it


class KneserNey:
    """Probabilities of ids from up to ``order - 1`` before them.

    Parameters
    ----------
    sequences
        Ids below ``vocab_size``; what stands in one is no context of another.
    """

    def __init__(self, sequences: Iterable[Sequence[int]], order: int, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        # Of the highest order how often, of those below after how many different ids a gram occurs.
        counts: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
        before: list[defaultdict[Gram, set[int]]] = [defaultdict(set) for _ in range(order)]
        for sequence in sequences:
            ids = (START, *map(int, sequence))
            for end in range(2, len(ids) + 1):
                for n in range(1, min(order, end - 1) + 1):
                    gram = ids[end - n : end]
                    if n == order:
                        counts[n][gram] += 1
                    else:
                        before[n][gram].add(ids[end - n - 1])
        for n in range(1, order):
            counts[n] = Counter({gram: len(ids) for gram, ids in before[n].items()})
        self._counts = counts
        self._discounts = [(0.0, 0.0, 0.0), *(_discounts(counter.values()) for counter in counts[1:])]
        # Of each context: the sum of what follows it, and what the discounts leave for shorter contexts.
        self._sums: list[defaultdict[Gram, float]] = [defaultdict(float) for _ in range(order + 1)]
        self._left: list[defaultdict[Gram, float]] = [defaultdict(float) for _ in range(order + 1)]
        for n in range(1, order + 1):
            for gram, count in counts[n].items():
                self._sums[n][gram[:-1]] += count
                self._left[n][gram[:-1]] += self._discount(n, count)

    def probability(self, context: Sequence[int], following: int) -> float:
        """Of an id after others; of these the last ``order - 1`` count."""
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        p = 1.0 / self.vocab_size
        for n in range(1, len(context) + 2):
            shorter = context[len(context) - n + 1 :]
            total = self._sums[n].get(shorter, 0.0)
            if total == 0.0:
                break
            count = self._counts[n].get((*shorter, following), 0)
            p = (count - self._discount(n, count) + self._left[n][shorter] * p) / total
        return p

    def perplexity(self, sequences: Iterable[Sequence[int]]) -> float:
        """Of all ids but the first of each sequence, as a causal model gives it."""
        losses = []
        for sequence in sequences:
            ids = tuple(map(int, sequence))
            for i in range(1, len(ids)):
                losses.append(-math.log(self.probability(ids[max(0, i - self.order + 1) : i], ids[i])))
        return math.exp(math.fsum(losses) / len(losses))

    def _discount(self, n: int, count: int) -> float:
        return self._discounts[n][min(count, 3) - 1] if count else 0.0


def _discounts(counts: Iterable[int]) -> tuple[float, float, float]:
    """For counts of one, two, and three or more; one half where there are too few counts to tell."""
    times = Counter(counts)
    n1, n2, n3, n4 = (times[count] for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return (0.5, 0.5, 0.5)
    y = n1 / (n1 + 2 * n2)
    return (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
