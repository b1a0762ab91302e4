"""The documents of the pretraining benchmark, equal for both sides: random words, in texts as long as those of R8."""

from __future__ import annotations

import random

from bench.assets import R8, fetch
from bench.data import read_r8
from bench.step_model import CLS, SEP, SPECIAL, Shape

MAX_LENGTH = 256


def documents(shape: Shape, ragged: bool, n_batches: int) -> list[list[int]]:
    """Token ids, special ones included, of documents that together fill batches of ``shape.texts * shape.tokens``.

    Parameters
    ----------
    ragged
        As long as documents of R8, of one word a token and at most `MAX_LENGTH`; else of ``shape.tokens`` tokens each.
    """
    if not ragged:
        return shape.rows(n_batches)[0]
    texts, source = read_r8(fetch(R8), "train").texts, random.Random(0)
    words = range(len(SPECIAL), shape.vocabulary)
    left, found = n_batches * shape.texts * shape.tokens, list[list[int]]()
    for text in source.sample(texts, len(texts)):
        n = min(len(text.split()), MAX_LENGTH - 2)
        left -= n + 2
        if left < 0:
            break
        found.append([CLS, *source.choices(words, k=n), SEP])
    return found
