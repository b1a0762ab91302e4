"""How many threads the kernels use, and that they serve in children of the process too."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import warmstart as ws
from warmstart import _core


def threads_of_a_process(environment, before=""):
    """Of a fresh one with these variables, after this code."""
    rest = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    code = f"{before}\nfrom warmstart import _core; print(_core.get_num_threads())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=rest | environment)
    return int(done.stdout)


@pytest.fixture(autouse=True)
def default():
    yield
    ws.set_num_threads(0)


def test_threads_are_as_many_as_asked_for():
    for n in (3, 1):
        ws.set_num_threads(n)
        assert _core.get_num_threads() == n


@pytest.mark.parametrize("value", [-1, 1025, 10**9])
def test_what_is_no_count_of_threads_is_refused(value):
    before = _core.get_num_threads()
    with pytest.raises(ValueError, match=rf"set_num_threads\({value}\): expected 1 to 1024, or 0 for the default"):
        ws.set_num_threads(value)
    assert _core.get_num_threads() == before


@pytest.mark.parametrize("value", [1.5, "two", None])
def test_what_is_no_number_of_threads_is_a_type_error(value):
    with pytest.raises(TypeError):
        ws.set_num_threads(value)


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"RAYON_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}, 3),
    ],
)
def test_the_environment_sets_the_default(environment, expected):
    assert threads_of_a_process(environment) == expected


def test_an_environment_that_is_no_number_leaves_the_default():
    assert threads_of_a_process({"OMP_NUM_THREADS": "many"}) == threads_of_a_process({}) >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity of processes")
def test_the_default_is_the_processors_that_the_process_may_use():
    # No more than affinity gives; fewer where a control group grants less of their time.
    assert threads_of_a_process({}) <= len(os.sched_getaffinity(0))
    assert threads_of_a_process({}, "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})") == 1


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_computes_what_its_parent_does(backbone, texts):
    expected = backbone.embed(texts)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = [pool.apply_async(backbone.embed, (texts,)) for _ in range(2)]
        for result in found:
            np.testing.assert_array_equal(result.get(timeout=60), expected)
