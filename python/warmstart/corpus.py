"""`open_corpus`: tokenise texts and files of any size once, and cache the result."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from warmstart import _core
from warmstart._core import DataError
from warmstart.digests import Digests
from warmstart.progress import TokenBar
from warmstart.tokenizer import Tokenizer, batches
from warmstart.warn import warn

_FORMAT = b"warmstart corpus 1"
_SUFFIXES = (".txt", ".jsonl", ".json", ".parquet")
_ROWS = 1024
_BAR_DELAY_S = 1.0


def open_corpus(
    source: Any,
    tokenizer: Tokenizer,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    text_field: str = "text",
    on_error: str = "stop",
    verbose: bool = True,
) -> _core.Corpus:
    """Tokenise texts or files once; later calls open the result from the cache.

    The cache key is the content of the corpus, its tokenizer and how it is read: files may move, and a changed file is
    tokenised again. A file whose path, size, inode and times are unchanged is not read to find that out. Memory does
    not grow with the corpus, nor with its longest document, except that a JSON line and a row of a parquet file are
    read whole.

    Parameters
    ----------
    source : iterable of str, path, or iterable of pathlib.Path
        Texts in a list, a column of pandas, polars, Arrow or datasets, or a generator, each a document; a generator is
        read and tokenised each time. Or files: ``.txt`` (UTF-8, blank lines between documents), ``.jsonl`` or ``.json``
        (an object a line), ``.parquet``.
    tokenizer : Tokenizer
        The tokenizer whose ids are stored.
    cache_dir : path, optional
        Directory of the cache; None takes $WARMSTART_CACHE, else $XDG_CACHE_HOME/warmstart, else ~/.cache/warmstart.
    text_field : str
        The field of a JSON line, or the column of a parquet file, that holds the text.
    on_error : {"stop", "skip"}
        For a line or row of a file that cannot be read: raise, or leave it out with one warning that counts all of
        them.
    verbose : bool
        Show a progress bar where it takes long.

    Returns
    -------
    Corpus
        N documents of T tokens without special ones, mapped into memory.

    Raises
    ------
    DataError
        No text has a token; a line or row cannot be read, which is named; a file changed while it was read.
    FileNotFoundError
        A file is not there.
    ImportError
        A parquet file is given and pyarrow is not installed.
    TypeError
        An element is neither text nor path.
    ValueError
        A file with another suffix, an unknown `on_error`, a text that is not Unicode.
    """
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"tokenizer is a {type(tokenizer).__name__}; expected a Tokenizer, as backbone.tokenizer is one"
        )
    if on_error not in ("stop", "skip"):
        raise ValueError(f'on_error is {on_error!r}; expected "stop" or "skip"')
    base = _cache(cache_dir)
    directory = base / "corpora"
    key = hashlib.sha256(_FORMAT)
    _update(key, tokenizer._inner.to_json().encode())
    files = _files(source)
    if files is not None:
        digests = Digests(base / "digests")
        return _of_files(files, tokenizer, directory, digests, key, text_field, on_error, verbose)
    return _of_texts(_Texts(source), tokenizer, directory, key, verbose)


def _cache(cache_dir: str | os.PathLike[str] | None) -> Path:
    environment = os.environ
    if cache_dir is not None:
        base = Path(cache_dir)
    elif environment.get("WARMSTART_CACHE"):
        base = Path(environment["WARMSTART_CACHE"])
    else:
        base = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warmstart"
    return base.expanduser()


def _update(key: Any, content: bytes) -> None:
    """Update a hash unambiguously, so that no two sequences of contents give the same bytes."""
    key.update(len(content).to_bytes(8, "little"))
    key.update(content)


def _cached(path: Path) -> _core.Corpus | None:
    """Open a corpus from the cache; None if it is missing or damaged, so that it is made again."""
    try:
        return _core.Corpus.open(os.fspath(path))
    except (FileNotFoundError, DataError):
        return None


class _Texts:
    """The texts of a container in batches; each batch is hashed as it is read."""

    def __init__(self, source: Any) -> None:
        if isinstance(source, dict | set | frozenset) or not hasattr(source, "__iter__") or hasattr(source, "columns"):
            raise TypeError(
                f"the corpus is a {type(source).__name__}; expected texts (a list, a generator, one column of a table) "
                f"or the path of a file"
            )
        # Iterating over an Arrow array gives scalars instead of str.
        self._source: Iterable[Any] = source.to_pylist() if hasattr(source, "to_pylist") else source
        self.is_read_once = iter(self._source) is self._source
        self.n_bytes = 0

    def batches(self, key: Any) -> Iterator[list[str]]:
        self.n_bytes = 0
        for index, batch in enumerate(batches(self._source)):
            if index == 0:
                _refuse_file_name(batch[0])
            for text in batch:
                content = text.encode()
                _update(key, content)
                self.n_bytes += len(content)
            yield batch


def _of_texts(texts: _Texts, tokenizer: Tokenizer, directory: Path, key: Any, verbose: bool) -> _core.Corpus:
    total = None
    if not texts.is_read_once:
        looked_up = key.copy()
        for _ in texts.batches(looked_up):
            pass
        total = texts.n_bytes
        found = _cached(directory / _name(looked_up))
        if found is not None:
            return found
    writer = _core.CorpusWriter(os.fspath(directory), tokenizer._inner)
    try:
        with TokenBar(total, "tokenising", verbose, _BAR_DELAY_S, unit="B") as bar:
            for batch in texts.batches(key):
                writer.add(batch)
                bar.move_to(texts.n_bytes)
        return writer.finish(_name(key))
    finally:
        writer.close()


def _name(key: Any) -> str:
    return f"{key.hexdigest()}.corpus"


def _refuse_file_name(text: str) -> None:
    if len(text) < 1000 and text.endswith(_SUFFIXES) and (os.path.isfile(text) or len(text.split()) == 1):
        raise ValueError(
            f"the first text is {text!r}, the name of a file; for the files themselves give pathlib.Path(...)"
        )


def _files(source: Any) -> list[Path] | None:
    """Return the paths of the files in a source; None if it holds texts."""
    if isinstance(source, str | os.PathLike):
        paths = [Path(source)]
    elif isinstance(source, list | tuple) and source and all(isinstance(path, os.PathLike) for path in source):
        paths = [Path(path) for path in source]
    else:
        return None
    for path in paths:
        if path.is_dir():
            raise FileNotFoundError(f"{path}: is a directory; give its files, as in sorted(Path(...).glob('*.txt'))")
        if path.suffix.lower() not in _SUFFIXES:
            hint = "; a single text goes into a list" if isinstance(source, str) else ""
            raise ValueError(f"{str(path)[:200]!r} is no {', '.join(_SUFFIXES)} file{hint}")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if path.suffix.lower() == ".parquet":
            _parquet()
    return paths


def _of_files(
    files: list[Path],
    tokenizer: Tokenizer,
    directory: Path,
    digests: Digests,
    key: Any,
    text_field: str,
    on_error: str,
    verbose: bool,
) -> _core.Corpus:
    total = sum(path.stat().st_size for path in files)
    before = [_state(path) for path in files]
    for path, content in zip(files, _digests(files, digests, verbose), strict=True):
        is_plain = path.suffix.lower() == ".txt"
        for part in (path.suffix.lower(), "" if is_plain else text_field, on_error):
            _update(key, part.encode())
        _update(key, content)
    found = _cached(directory / _name(key))
    if found is not None:
        return found
    writer = _core.CorpusWriter(os.fspath(directory), tokenizer._inner)
    skipped, first, done = 0, None, 0
    try:
        with TokenBar(total, "tokenising", verbose, _BAR_DELAY_S, unit="B") as bar:
            for path in files:
                add = _add_parquet if path.suffix.lower() == ".parquet" else _add_text
                count, reason = add(writer, path, text_field, on_error, bar, done)
                skipped, first = skipped + count, first or reason
                done += path.stat().st_size
        for path, state in zip(files, before, strict=True):
            if _state(path) != state:
                raise DataError(f"{path}: changed while it was read; begin again when it is complete")
        corpus = writer.finish(_name(key))
    finally:
        writer.close()
    if skipped:
        message = f"{skipped} {'line was' if skipped == 1 else 'lines were'} left out; the first: {first}"
        warn(message)
    return corpus


def _digests(files: list[Path], digests: Digests, verbose: bool) -> list[bytes]:
    """Return the digests of the files' contents; unchanged files are not read."""
    known = [digests.recall(path) for path in files]
    total = sum(path.stat().st_size for path, digest in zip(files, known, strict=True) if digest is None)
    with TokenBar(total, "reading", verbose, _BAR_DELAY_S, unit="B") as bar:
        done = 0

        def on_read(n: int) -> None:
            nonlocal done
            done += n
            bar.move_to(done)

        return [digest or digests.compute(path, on_read) for path, digest in zip(files, known, strict=True)]


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _add_text(
    writer: _core.CorpusWriter, path: Path, text_field: str, on_error: str, bar: TokenBar, done: int
) -> tuple[int, str | None]:
    field = None if path.suffix.lower() == ".txt" else text_field
    move = bar.callback
    report = None if move is None else lambda n: move(done + n)
    return writer.add_file(os.fspath(path), field, on_error == "skip", report)


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError("a .parquet file needs pyarrow; install it: pip install pyarrow") from None
    return pyarrow.parquet


def _add_parquet(
    writer: _core.CorpusWriter, path: Path, text_field: str, on_error: str, bar: TokenBar, done: int
) -> tuple[int, str | None]:
    import pyarrow

    skipped, first, row = 0, None, 0
    try:
        with _parquet().ParquetFile(path) as file:
            names = file.schema_arrow.names
            if text_field not in names:
                raise DataError(f"{path}: has no column {text_field!r}, but {names}; name it with text_field")
            for batch in file.iter_batches(batch_size=_ROWS, columns=[text_field]):
                texts = _values(batch.column(0))
                for index, text in enumerate(texts):
                    if isinstance(text, str):
                        continue
                    what = "not valid UTF-8" if isinstance(text, UnicodeDecodeError) else f"{text!r:.40}, no text"
                    reason = f"{path}, row {row + index}: is {what}"
                    if on_error == "stop":
                        raise DataError(f'{reason}; mend it, or leave out such rows: on_error="skip"')
                    skipped, first = skipped + 1, first or reason
                writer.add([text for text in texts if isinstance(text, str)])
                row += len(texts)
                bar.move_to(done + int(path.stat().st_size * row / file.metadata.num_rows))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: cannot be read as parquet near row {row}: {error}") from error
    return skipped, first


def _values(column: Any) -> list[Any]:
    """Return the values of an Arrow array; a value that is not UTF-8 is replaced by the error."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        values = [_value(scalar) for scalar in column]
    return values


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error
