"""The parts of bench/studies that others rely on: the n-gram baseline, and runs that are kept."""

import math
import random
from itertools import product

import pytest

from bench.studies.kneser_ney import KneserNey
from bench.studies.study import Results, chosen, results_folder, spread


def test_probabilities_of_all_that_can_follow_sum_to_one():
    draw = random.Random(0)
    sequences = [[int(draw.expovariate(0.5)) % 7 for _ in range(draw.randint(1, 30))] for _ in range(40)]
    model = KneserNey(sequences, order=4, vocab_size=8)  # 7 never occurs
    for length in range(5):
        for context in product((0, 1, 3, 7), repeat=length):
            probabilities = [model.probability(context, following) for following in range(8)]
            assert math.fsum(probabilities) == pytest.approx(1.0, abs=1e-12)
            assert min(probabilities) > 0.0


def test_bigrams_by_hand():
    # 0 1 occurs twice, 1 2 once; discounts are one half, as there are too few counts to tell.
    model = KneserNey([[0, 1, 2], [0, 1]], order=2, vocab_size=4)
    # What precedes: of 0 the start alone, of 1 the 0, of 2 the 1: one each.
    unigram = (1 - 0.5) / 3 + (3 * 0.5 / 3) / 4
    assert model.probability([], 1) == pytest.approx(unigram)
    assert model.probability([], 3) == pytest.approx((3 * 0.5 / 3) / 4)
    assert model.probability([2, 0], 1) == pytest.approx((2 - 0.5) / 2 + 0.5 / 2 * unigram)
    assert model.probability([3], 1) == pytest.approx(unigram)
    expected = [model.probability([0], 1), model.probability([1], 3)]
    assert model.perplexity([[0, 1, 3]]) == pytest.approx(math.exp(-sum(map(math.log, expected)) / 2))


def test_more_context_predicts_a_pattern_better():
    pattern = [[0, 1, 0, 2] * 30, [3, 2, 1, 0] * 20]
    perplexities = [KneserNey(pattern, order, 4).perplexity([[0, 1, 0, 2] * 5]) for order in (1, 2, 3)]
    assert perplexities == sorted(perplexities, reverse=True) and perplexities[-1] < 1.3


def test_runs_are_found_again_by_their_key_alone(tmp_path):
    path = results_folder(tmp_path) / "name.jsonl"
    results = Results(path)
    assert results.find({"seed": 0}) is None
    results.add({"seed": 0, "steps": 5, "losses": [[1, 2.5]]})
    again = Results(path)
    assert again.find({"seed": 0, "steps": 5}) == {"seed": 0, "steps": 5, "losses": [[1, 2.5]]}
    assert again.find({"seed": 0, "steps": 6}) is None and again.find({"seed": None}) is None
    assert (tmp_path / "study-results" / ".gitignore").read_text() == "*\n"


def test_tables_say_how_many_runs_they_have():
    assert spread([]) == "-" and spread([0.5]) == "0.500 (1 run)"
    assert spread([1, 2, 3], "{:.1f}") == "2.0 (1.0-3.0)" and spread([1, 3], "{:.0f}") == "2 (1-3), 2 runs"
    assert chosen([{"a": 1, "b": [2]}, {"a": 2}], a=1) == [{"a": 1, "b": [2]}]
