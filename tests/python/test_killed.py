"""Processes killed while they write: what was there before serves, and what they leave does not pile up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import warmstart as ws
from test_families import tiny
from test_language_model import FAST, weights
from warmstart.corpus import open_corpus

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")


def left_in(directory: Path) -> list[Path]:
    return list(directory.glob(".warmstart-*"))


@contextmanager
def process(code: str, *arguments: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Python code in a process of its own, which is killed at the end."""
    path = os.pathsep.join([str(Path(ws.__file__).parents[1]), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_for(child: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not ready():
        assert child.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "it never came so far"


TOKENISE = """if True:
    import sys
    from warmstart.backbone import Backbone
    from warmstart.corpus import open_corpus
    from test_families import tiny
    texts = ("the film was very good and the plot was bad" for _ in range(10**9))
    open_corpus(texts, tiny("bert", sys.argv[1]).tokenizer, cache_dir=sys.argv[2], verbose=False)
"""


def test_tokenising_when_killed_leaves_the_cache_as_it_was(tokenizer_dir, tmp_path):
    tokenizer, cache = tiny("bert", tokenizer_dir).tokenizer, tmp_path / "corpora"
    open_corpus(["a film"], tokenizer, cache_dir=tmp_path)
    [before] = cache.iterdir()

    def is_writing() -> bool:
        # What another has left has gone by then. A directory may be younger than its file.
        files = [path / "tokens" for path in left_in(cache) if path not in abandoned]
        return any(file.stat().st_size > 1 << 16 for file in files if file.exists())

    for _ in range(3):
        abandoned = left_in(cache)
        with process(TOKENISE, tokenizer_dir, tmp_path) as child:
            wait_for(child, is_writing)
        assert len(left_in(cache)) == 1
    assert open_corpus(["a film"], tokenizer, cache_dir=tmp_path).n_tokens == 2  # from the cache
    assert len(left_in(cache)) == 1
    open_corpus(["the plot"], tokenizer, cache_dir=tmp_path)
    assert left_in(cache) == []
    assert len(list(cache.iterdir())) == 2
    assert before.is_file()


# A file that grows past the limit kills its process there, so each is killed while it writes, however fast the disk is.
PRETRAIN = """if True:
    import resource, signal, sys
    from test_killed import model
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    model(sys.argv[1], sys.argv[2]).fit(["the film was very good and the plot was bad"] * 40)
"""


def model(tokenizer_dir: Path | str, directory: Path | str | None = None) -> ws.LanguageModel:
    params = {"max_steps": 24, "eval_every": 4, "checkpoint_every": None if directory is None else 1}
    return ws.LanguageModel(tiny("gpt2", Path(tokenizer_dir)), **FAST | params | {"checkpoint_dir": directory})


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_training_when_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    tokenizer_dir, tmp_path, monkeypatch
):
    resource = pytest.importorskip("resource")
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))
    texts, run = ["the film was very good and the plot was bad"] * 40, tmp_path / "run"
    whole = model(tokenizer_dir).fit(texts)
    for _ in range(3):
        abandoned = left_in(run)
        with process(PRETRAIN, tokenizer_dir, run) as child:
            wait_for(child, (run / "checkpoint.safetensors").exists)
            limit = (run / "checkpoint.safetensors").stat().st_size // 2
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (limit, limit))
            assert child.wait(60) == -signal.SIGXFSZ
        [left] = left_in(run)
        assert left not in abandoned
    resumed = model(tokenizer_dir, run).fit(texts)
    rows = resumed.history_.rows
    assert rows[0]["step"] > 1
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole.history_.rows][-len(rows) :]
    assert weights(resumed) == weights(whole)
    assert [path.name for path in run.iterdir()] == ["checkpoint.safetensors"]
