"""Texts and files to a cached corpus."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from warmstart import _core
from warmstart.corpus import open_corpus

V1 = Path(__file__).parents[1] / "reference" / "saved_v1"
TEXTS = ["the cat sat on the mat", "a dog ran", "", "the end, at last"]


@pytest.fixture(scope="module")
def tokenizer():
    return ws.train_tokenizer(TEXTS * 2, kind="bpe", vocab_size=300)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpora"


@pytest.fixture
def no_writing(monkeypatch):
    """Tokenising is a failure from here on."""

    def begin():
        monkeypatch.setattr(_core, "CorpusWriter", None)

    return begin


def documents(corpus, tokenizer):
    return tokenizer.decode([corpus.ids(i).tolist() for i in range(corpus.n_documents)])


def write(path: Path, content) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def files(directory: Path) -> dict[str, Path]:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"n": range(4), "text": TEXTS}), directory / "a.parquet")
    lines = "\n".join(json.dumps({"id": 1, "text": text}) for text in TEXTS)
    return {
        "txt": write(directory / "a.txt", "\n\n".join(TEXTS)),
        "jsonl": write(directory / "a.jsonl", lines),
        "json": write(directory / "b.json", lines + "\n"),
        "parquet": directory / "a.parquet",
    }


@pytest.mark.parametrize("kind", ["txt", "jsonl", "json", "parquet"])
def test_files_of_every_kind_give_the_same_documents_and_are_tokenised_once(kind, tmp_path, tokenizer, no_writing):
    path = files(tmp_path)[kind]
    corpus = open_corpus(path, tokenizer)
    assert documents(corpus, tokenizer) == [text for text in TEXTS if text]
    assert corpus.vocab_size == tokenizer.vocab_size
    no_writing()
    moved = path.rename(tmp_path / f"moved.{kind}")
    assert open_corpus(str(moved), tokenizer).n_tokens == corpus.n_tokens


def test_several_files_are_one_corpus_in_their_order(tmp_path, tokenizer):
    found = files(tmp_path)
    corpus = open_corpus([found["jsonl"], found["txt"]], tokenizer)
    assert documents(corpus, tokenizer) == [text for text in TEXTS if text] * 2


def containers():
    pa, pd, pl, datasets = map(pytest.importorskip, ("pyarrow", "pandas", "polars", "datasets"))
    return {
        "list": TEXTS,
        "tuple": tuple(TEXTS),
        "generator": (text for text in TEXTS),
        "numpy": np.array(TEXTS),
        "pandas": pd.Series(TEXTS),
        "polars": pl.Series(TEXTS),
        "arrow": pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        "datasets": datasets.Dataset.from_dict({"text": TEXTS})["text"],
    }


@pytest.mark.parametrize("kind", list(containers()))
def test_containers_of_every_kind_give_the_same_corpus(kind, tokenizer, cache, no_writing):
    corpus = open_corpus(containers()[kind], tokenizer)
    assert documents(corpus, tokenizer) == [text for text in TEXTS if text]
    assert len(list(cache.iterdir())) == 1
    no_writing()
    assert open_corpus(TEXTS, tokenizer).n_tokens == corpus.n_tokens


def test_words_are_marked(tokenizer):
    corpus = open_corpus(["sat-mat unhappy"], tokenizer)
    text, continues = tokenizer.decode([[i] for i in corpus.ids(0).tolist()]), corpus.continues(0)
    words: list[str] = []
    for piece, goes_on in zip(text, continues, strict=True):
        words = [*words[:-1], words[-1] + piece] if goes_on else [*words, piece]
    assert words == ["sat", "-", "mat", " unhappy"]
    with pytest.raises(IndexError, match="document 1 of 1"):
        corpus.ids(1)


def test_what_changes_is_tokenised_anew(tmp_path, tokenizer, cache):
    path = write(tmp_path / "a.jsonl", '{"text": "the cat", "other": "a dog"}')
    open_corpus(path, tokenizer)
    assert documents(open_corpus(path, tokenizer, text_field="other"), tokenizer) == ["a dog"]
    another = ws.train_tokenizer(TEXTS, kind="wordpiece", vocab_size=80, min_frequency=1)
    open_corpus(path, another)
    write(path, '{"text": "the end"}')
    assert documents(open_corpus(path, tokenizer), tokenizer) == ["the end"]
    assert len(list(cache.iterdir())) == 4


def test_a_broken_cache_is_mended(tokenizer, cache):
    open_corpus(TEXTS, tokenizer)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert documents(open_corpus(TEXTS, tokenizer), tokenizer) == [text for text in TEXTS if text]


def test_corpora_of_version_1_are_read_or_made_anew(tmp_path, cache):
    """Never misread: what `tests/reference/make_saved_v1.py` left is what is tokenised today, or not asked."""
    tokenizer = ws.Backbone.from_pretrained(V1 / "masked").tokenizer
    texts = V1 / "corpus.txt"
    fresh = open_corpus(texts, tokenizer, cache_dir=tmp_path / "fresh")
    words = [tokenizer.decode([fresh.ids(i).tolist()])[0] for i in range(fresh.n_documents)]
    assert words == texts.read_text().replace("an unknown ", "").split("\n\n")
    shutil.copytree(V1 / "cache" / "corpora", cache)
    corpora = [_core.Corpus.open(str(path)) for path in cache.iterdir()]
    assert sorted((corpus.n_documents, corpus.n_tokens) for corpus in corpora) == [(8, 53), (64, 912)]
    for corpus in (open_corpus(texts, tokenizer), max(corpora, key=lambda corpus: corpus.n_documents)):
        assert [corpus.ids(i).tolist() for i in range(64)] == [fresh.ids(i).tolist() for i in range(64)]
        assert [corpus.continues(i).tolist() for i in range(64)] == [fresh.continues(i).tolist() for i in range(64)]


def test_corpus_of_another_version_is_refused_by_version_and_made_anew(tokenizer, cache):
    open_corpus(TEXTS, tokenizer)
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    assert content[8] == 1  # after eight bytes that say what it is
    content[8] = 2
    path.write_bytes(content)
    with pytest.raises(ws.DataError, match="is a corpus of version 2; this build reads version 1"):
        _core.Corpus.open(str(path))
    assert documents(open_corpus(TEXTS, tokenizer), tokenizer) == [text for text in TEXTS if text]
    assert _core.Corpus.open(str(path)).n_documents == 3


def test_the_cache_is_where_it_is_asked_for(tmp_path, tokenizer, monkeypatch):
    open_corpus(TEXTS, tokenizer, cache_dir=tmp_path / "asked")
    assert len(list((tmp_path / "asked" / "corpora").iterdir())) == 1
    monkeypatch.delenv("WARMSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    open_corpus(TEXTS, tokenizer)
    assert len(list((tmp_path / "xdg" / "warmstart" / "corpora").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", b"the cat\n\nb\xff\n", r"a\.txt, line 3: is not valid UTF-8 from byte 2 on; .*on_error=\"skip\""),
        ("a.jsonl", '{"text": "the cat"}\n[1]', r"a\.jsonl, line 2: is an array; expected JSON lines"),
        ("a.jsonl", '{"text": "the cat"}\n{"txt": ""}', r"line 2: has no field \"text\", but \[\"txt\"\]"),
        ("a.json", '{"text": "the cat"}\n{', "line 2: is not JSON"),
    ],
)
def test_lines_that_cannot_be_read_stop_or_are_left_out(name, content, match, tmp_path, tokenizer, cache, recwarn):
    path = write(tmp_path / name, content)
    with pytest.raises(ws.DataError, match=match):
        open_corpus(path, tokenizer)
    assert list(cache.iterdir()) == []
    with pytest.warns(UserWarning, match=r"1 line was left out; the first: .*line") as caught:
        corpus = open_corpus(path, tokenizer, on_error="skip")
    assert len(caught) == 1
    assert documents(corpus, tokenizer) == ["the cat"]
    recwarn.clear()
    open_corpus(path, tokenizer, on_error="skip")
    assert not recwarn
    with pytest.raises(ws.DataError, match=match):
        open_corpus(path, tokenizer)


def test_rows_that_cannot_be_read_stop_or_are_left_out(tmp_path, tokenizer):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["the cat", None], "n": [1, 2]}), path)
    with pytest.raises(ws.DataError, match=r"a\.parquet, row 1: is None, no text"):
        open_corpus(path, tokenizer)
    with pytest.warns(UserWarning, match="1 line was left out"):
        assert open_corpus(path, tokenizer, on_error="skip").n_documents == 1
    # As pandas and pyarrow do not write it, but others may.
    strings = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.int32([0, 7, 9]).tobytes()), pa.py_buffer(b"the cat\xff\xfe")]
    )
    parquet.write_table(pa.table({"text": strings}), tmp_path / "b.parquet")
    with pytest.raises(ws.DataError, match=r"b\.parquet, row 1: is not valid UTF-8; .*on_error=\"skip\""):
        open_corpus(tmp_path / "b.parquet", tokenizer)
    with pytest.warns(UserWarning, match=r"1 line was left out; the first: .*row 1: is not valid UTF-8"):
        corpus = open_corpus(tmp_path / "b.parquet", tokenizer, on_error="skip")
    assert documents(corpus, tokenizer) == ["the cat"]
    with pytest.raises(ws.DataError, match=r"has no column 'body', but \['text', 'n'\]"):
        open_corpus(path, tokenizer, text_field="body")
    with pytest.raises(ws.DataError, match="cannot be read as parquet"):
        open_corpus(write(path, b"PAR1 no"), tokenizer)


def test_a_json_line_that_is_too_long_is_named_or_left_out(tmp_path, tokenizer):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "the cat"}\n')
        file.truncate(300 << 20)  # zeros, which take no place
        file.seek(0, 2)
        file.write(b'\n{"text": "the mat"}\n')
    with pytest.raises(
        ws.DataError, match=r"line 2: is longer than 256 MiB; split the document, or give it as a \.txt"
    ):
        open_corpus(path, tokenizer)
    with pytest.warns(UserWarning, match="1 line was left out"):
        corpus = open_corpus(path, tokenizer, on_error="skip")
    assert documents(corpus, tokenizer) == ["the cat", "the mat"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        open_corpus(write(tmp_path / "a.parquet", b""), tokenizer)


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        ([], ws.DataError, "the corpus is empty"),
        (["", " "], ws.DataError, "the corpus is empty"),
        (["a", None], TypeError, r"corpus\[1\] is None"),
        ([("a", "b")], TypeError, r"corpus\[0\] is \('a', 'b'\)"),
        (["a", "\ud800"], ValueError, r"corpus\[1\] is not valid Unicode"),
        ({"a": 1}, TypeError, "the corpus is a dict"),
        (7, TypeError, "the corpus is a int"),
        ("no/such.txt", FileNotFoundError, "no/such.txt: no such file"),
        ("a single text", ValueError, r"is no \.txt, .* file; a single text goes into a list"),
        (Path("a.pdf"), ValueError, r"'a.pdf' is no \.txt"),
        (Path(__file__).parent, FileNotFoundError, "is a directory; give its files"),
    ],
)
def test_bad_sources_are_refused_and_leave_nothing(source, error, match, tokenizer, cache):
    if source == ["", " "]:
        tokenizer = ws.train_tokenizer(TEXTS, kind="wordpiece", vocab_size=80, min_frequency=1)
    with pytest.raises(error, match=match):
        open_corpus(source, tokenizer)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_bad_arguments_are_refused(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="on_error is 'ignore'; expected"):
        open_corpus(TEXTS, tokenizer, on_error="ignore")
    with pytest.raises(TypeError, match="expected a Tokenizer"):
        open_corpus(TEXTS, "gpt2")
    path = write(tmp_path / "a.txt", "the cat")
    with pytest.raises(ValueError, match=r"the name of a file; .* pathlib\.Path"):
        open_corpus([str(path)], tokenizer)
    with pytest.raises(ws.DataError, match="the corpus is empty"):
        open_corpus(write(path, " \n\n"), tokenizer)


def test_ctrl_c_leaves_nothing_and_another_thread_runs_meanwhile(tmp_path, tokenizer, cache):
    """Python takes its lock from nobody here, so that another thread runs only where tokenising gives it up."""
    before, switch = signal.signal(signal.SIGINT, signal.default_int_handler), sys.getswitchinterval()
    path = write(tmp_path / "a.txt", " ".join(TEXTS) * 400_000)

    def interrupt():
        while not (cache.is_dir() and list(cache.iterdir())):
            time.sleep(0.001)
        for _ in range(100):
            time.sleep(0)  # gives up the lock and asks for it again
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    sys.setswitchinterval(1e6)
    try:
        with pytest.raises(KeyboardInterrupt):
            open_corpus(path, tokenizer)
    finally:
        sys.setswitchinterval(switch)
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert list(cache.iterdir()) == []


def test_a_long_line_takes_little_memory(tmp_path, tokenizer):
    path = write(tmp_path / "a.txt", "the cat sat on the mat. " * 1_500_000)
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(tmp_path / "tokenizer")
    code = """if True:
        import sys
        from pathlib import Path
        from warmstart import _core
        from warmstart.corpus import open_corpus
        from warmstart.tokenizer import Tokenizer
        directory = Path(sys.argv[1])
        inner = _core._tokenizer_from_files({"tokenizer.json": (directory / "tokenizer.json").read_bytes()})
        before = _core.peak_memory_bytes()
        corpus = open_corpus(Path(sys.argv[2]), Tokenizer(inner))
        assert corpus.n_documents == 1 and corpus.n_tokens > 1_500_000 * 6
        print(_core.peak_memory_bytes() - before)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "tokenizer"), str(path)]
    # Two threads, whatever the machine has: each holds a piece and what tokenising it takes.
    environment = {**os.environ, "RAYON_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 128 << 20, f"{int(done.stdout) >> 20} MiB for a file of {path.stat().st_size >> 20} MiB"
