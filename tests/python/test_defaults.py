"""Rate and length where none are given."""

from math import ceil

import pytest
import warmstart as ws
from warmstart.defaults import epochs, learning_rate


@pytest.mark.parametrize("batch_size", [7, 32])
def test_few_texts_are_passed_over_more_often(batch_size):
    before = None
    for n in (1, 16, 50, 200, 616, 1000, 5000, 100_000):
        passes = epochs(ws.FullFineTuning(), n, ceil(n / batch_size)).value
        assert passes * ceil(n / batch_size) >= 60
        assert passes >= 3
        assert before is None or passes <= before
        before = passes
    assert before == 3


def test_the_rate_falls_with_the_root_of_the_width():
    rates = [learning_rate(ws.FullFineTuning(), width, False).value for width in (96, 384, 1536)]
    assert rates == pytest.approx([2e-4, 1e-4, 5e-5])
    assert learning_rate(ws.FullFineTuning(), 96, True).value == pytest.approx(2 * rates[0])
    assert learning_rate(ws.LinearProbing(), 384, False).value > 10 * rates[0]
