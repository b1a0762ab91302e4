"""Processes killed while they write: what was there before serves, and what they leave does not pile up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import warmstart as ws
from test_families import tiny
from test_language_model import FAST, weights
from warmstart.corpus import open_corpus

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
# Large enough that most of a step is the writing of its checkpoint.
LARGE = {"n_embd": 192, "n_layer": 4, "n_head": 3}


def left_in(directory: Path) -> list[Path]:
    return list(directory.glob(".warmstart-*"))


def kill_while(ready: Callable[[], bool], code: str, *arguments: Path) -> None:
    """Run Python code in a process of its own and kill it as soon as it is `ready`."""
    path = os.pathsep.join([str(Path(ws.__file__).parents[1]), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path}
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment)
    end = time.monotonic() + 60
    try:
        while not ready():
            assert child.poll() is None, "it ended by itself"
            assert time.monotonic() < end, "it never came so far"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


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
        kill_while(is_writing, TOKENISE, tokenizer_dir, tmp_path)
        assert len(left_in(cache)) == 1
    assert open_corpus(["a film"], tokenizer, cache_dir=tmp_path).n_tokens == 2  # from the cache
    assert len(left_in(cache)) == 1
    open_corpus(["the plot"], tokenizer, cache_dir=tmp_path)
    assert left_in(cache) == []
    assert len(list(cache.iterdir())) == 2
    assert before.is_file()


PRETRAIN = """if True:
    import sys
    from test_killed import model
    model(sys.argv[1], sys.argv[2]).fit(["the film was very good and the plot was bad"] * 40)
"""


def model(tokenizer_dir: Path | str, directory: Path | str | None = None) -> ws.LanguageModel:
    params = {"max_steps": 24, "eval_every": 4, "checkpoint_every": None if directory is None else 1}
    return ws.LanguageModel(tiny("gpt2", Path(tokenizer_dir), **LARGE), **FAST | params | {"checkpoint_dir": directory})


def test_training_when_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    tokenizer_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))
    texts, run = ["the film was very good and the plot was bad"] * 40, tmp_path / "run"
    whole = model(tokenizer_dir).fit(texts)

    def is_writing() -> bool:
        return (run / "checkpoint.safetensors").exists() and any(path not in abandoned for path in left_in(run))

    interrupted = 0
    for _ in range(4):
        abandoned = left_in(run)
        kill_while(is_writing, PRETRAIN, tokenizer_dir, run)
        assert len(left_in(run)) <= 1
        interrupted += len(left_in(run))
    assert interrupted, "none was killed while it wrote"
    resumed = model(tokenizer_dir, run).fit(texts)
    rows = resumed.history_.rows
    assert rows[0]["step"] > 1
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole.history_.rows][-len(rows) :]
    assert weights(resumed) == weights(whole)
    assert [path.name for path in run.iterdir()] == ["checkpoint.safetensors"]
