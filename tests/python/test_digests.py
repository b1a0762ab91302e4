"""Files of a corpus that did not change are not read to find out that they did not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warmstart as ws
from warmstart import _core, digests
from warmstart.corpus import open_corpus

times_opened: dict[str, int] = {}
"""Of the files that a test asks for."""


def on_event(event, args):
    if event == "open" and (name := str(args[0])) in times_opened:
        times_opened[name] += 1


sys.addaudithook(on_event)  # sees every file that Python opens, however it does


@pytest.fixture(scope="module")
def tokenizer():
    return ws.train_tokenizer(["the cat sat on the mat", "a dog ran"], kind="bpe", vocab_size=280)


@pytest.fixture
def later(monkeypatch):
    """As if a minute had passed since the files were written."""
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 60 * 10**9)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("the cat sat")
    return path


@pytest.fixture
def read(path, tmp_path, tokenizer):
    """Open the corpus: its text, and how often Python opened the file."""

    def read(source=path):
        times_opened.clear()
        times_opened[str(source)] = 0
        corpus = open_corpus(source, tokenizer, cache_dir=tmp_path)
        return tokenizer.decode([corpus.ids(0).tolist()])[0], times_opened[str(source)]

    return read


@pytest.fixture
def no_writing(monkeypatch):
    """Tokenising is a failure from here on."""
    return lambda: monkeypatch.setattr(_core, "CorpusWriter", None)


def entries(tmp_path) -> list[Path]:
    directory = tmp_path / "digests"
    return list(directory.iterdir()) if directory.exists() else []


def test_unchanged_file_is_not_read(read, later, no_writing):
    assert read() == ("the cat sat", 1)
    no_writing()
    assert read() == ("the cat sat", 0)


def test_file_that_was_touched_or_moved_is_read_and_found_again(path, read, later, no_writing):
    read()
    no_writing()
    os.utime(path, ns=(0, 1_000_000_000))
    assert [read(), read()] == [("the cat sat", 1), ("the cat sat", 0)]
    moved = path.rename(path.with_name("b.txt"))
    assert [read(moved), read(moved)] == [("the cat sat", 1), ("the cat sat", 0)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of the last change of an inode")
def test_other_content_of_equal_size_and_time_is_noticed(path, read, later):
    os.utime(path, ns=(0, 1_000_000_000))
    assert [read(), read()] == [("the cat sat", 1), ("the cat sat", 0)]
    path.write_text("the dog ran")
    os.utime(path, ns=(0, 1_000_000_000))
    assert [read(), read()] == [("the dog ran", 1), ("the dog ran", 0)]


def test_file_of_this_moment_is_not_trusted(path, read, tmp_path, monkeypatch):
    """It may change once more and have the same times."""
    assert [read(), read()] == [("the cat sat", 1), ("the cat sat", 1)]
    assert entries(tmp_path) == []
    written = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    for age, times in ((-(10**9), 1), (2 * 10**9, 1), (2 * 10**9 + 1, 1), (0, 0)):
        monkeypatch.setattr(digests.time, "time_ns", lambda age=age: written + age)
        assert read() == ("the cat sat", times)
    assert len(entries(tmp_path)) == 1


def test_file_that_changes_while_it_is_read_is_not_remembered(path, later, tmp_path):
    known = digests.Digests(tmp_path / "digests")
    known.compute(path, lambda n: os.utime(path, ns=(0, n)))
    assert entries(tmp_path) == []
    known.compute(path, lambda n: None)
    assert known.recall(path) is not None
    assert len(entries(tmp_path)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-9],
        lambda content: content.replace(b"a", b"b"),
        lambda content: b"\xff" * len(content),
        lambda content: b"\n",
    ],
)
def test_damaged_entry_costs_no_more_than_a_reading(damage, read, later, no_writing, tmp_path):
    read()
    (entry,) = entries(tmp_path)
    content = entry.read_bytes()
    entry.write_bytes(damage(content))
    no_writing()
    assert [read(), read()] == [("the cat sat", 1), ("the cat sat", 0)]
    assert entry.read_bytes() == content


def test_where_nothing_can_be_remembered_files_are_read(read, later, tmp_path):
    (tmp_path / "digests").write_text("not a directory")
    assert [read(), read()] == [("the cat sat", 1), ("the cat sat", 1)]


def test_processes_that_remember_at_once_leave_one_whole_entry(path, later, tmp_path):
    code = """if True:
        import sys, time
        from pathlib import Path
        from warmstart import digests
        now = time.time_ns
        digests.time.time_ns = lambda: now() + 60 * 10**9
        known, path = digests.Digests(Path(sys.argv[1])), Path(sys.argv[2])
        found = {known.compute(path, lambda n: None) for _ in range(200)} | {known.recall(path) for _ in range(200)}
        assert len(found) == 1 and None not in found, found
        print(found.pop().hex())
    """
    command = [sys.executable, "-c", code, str(tmp_path / "digests"), str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    known = digests.Digests(tmp_path / "digests").recall(path)
    assert known is not None
    assert said == {known.hex()}
    assert len(entries(tmp_path)) == 1
