"""Corpora: iterables of texts, or files of any size, tokenised once into a cache that later runs map into memory.

Files are read in pieces, so that neither a file nor a document nor a line has to fit into memory.
"""

import codecs
import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from warmstart import _core
from warmstart.progress import TokenBar

Corpus = Any
"""What a user may pass: an iterable of texts, or the path of a ``.txt``, ``.jsonl`` or ``.parquet`` file, or several."""

_FORMAT = 1
"""Raise it when the tokens of a text, or what is a document, change."""
_PIECE = 1 << 20
"""Characters that are handed to the core at once, and bytes of a line that are read at once."""

Piece = tuple[str, bool]
"""Part of a document, and whether the document ends with it."""


def open_corpus(
    source: Corpus,
    backbone: _core.Backbone,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    text_field: str = "text",
    on_error: str = "stop",
    verbose: bool = False,
) -> _core.Corpus:
    """Tokenise a corpus, or find it in the cache, where it lies by its content and the tokenizer.

    Parameters
    ----------
    source : iterable of str, path, or list of paths
        Texts, each a document; or files: ``.txt``, whose documents are separated by blank lines, ``.jsonl``, an object
        with a text on each line, ``.parquet``, a column of texts (needs pyarrow).
    backbone : _core.Backbone
        Whose tokenizer to use.
    cache_dir : str or path, optional
        None takes ``WARMSTART_CACHE``, else ``warmstart`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
    text_field : str
        The field or column of the text.
    on_error : {"stop", "skip"}
        Lines that are not UTF-8 or not such an object: an error, or left out and counted.
    verbose : bool
        Show a bar.

    Returns
    -------
    _core.Corpus

    Raises
    ------
    DataError
        There is no text in it; or a line cannot be read, whose file and number are named.
    FileNotFoundError
        A file is not there.
    TypeError, ValueError
        It is something else, or a file of another kind.
    """
    if on_error not in ("stop", "skip"):
        raise ValueError(f'on_error must be "stop" or "skip", got {on_error!r}')
    paths = _paths(source)
    folder = _folder(cache_dir)
    digest = hashlib.sha256(f"{_FORMAT} {text_field} {on_error}\n".encode())
    digest.update(backbone.tokenizer.to_json().encode())
    if paths is None and not hasattr(source, "__len__"):
        return _write(_texts(source, digest), backbone, folder, digest, 0, verbose)
    if paths is None:
        for _ in _texts(source, digest):
            pass
        pieces, total = _texts(source, hashlib.sha256()), 0
    else:
        total = sum(path.stat().st_size for path in paths)
        for path in paths:
            with path.open("rb") as file:
                digest.update(path.suffix.encode() + hashlib.file_digest(file, "sha256").digest())
        skipped: list[str] = []
        pieces = _files(paths, text_field, skipped if on_error == "skip" else None)
    path = folder / f"{digest.hexdigest()}.corpus"
    if path.exists():
        return _core.Corpus.open(os.fspath(path))
    corpus = _write(pieces, backbone, folder, digest, total, verbose)
    if paths is not None and skipped:
        warnings.warn(f"{len(skipped)} lines were left out, the first: {skipped[0]}", UserWarning, stacklevel=3)
    return corpus


def _write(
    pieces: Iterator[Piece], backbone: _core.Backbone, folder: Path, digest: Any, total: int, verbose: bool
) -> _core.Corpus:
    building = folder / f"{uuid.uuid4().hex}.building"
    writer = _core.CorpusWriter(os.fspath(building), backbone)
    batch: list[str] = []
    size = done = 0
    with TokenBar(total, "tokenising (characters)", verbose and total > 0, delay_s=1.0) as bar:
        begun = False
        for text, ends in pieces:
            if begun:
                batch[-1] += text
            else:
                batch.append(text)
            begun = not ends
            size += len(text)
            if size >= _PIECE:
                writer.add(batch, begun)
                done += size
                bar.move_to(min(done, total))
                batch, size = ([""], 0) if begun else ([], 0)
        writer.add(batch, False)
    writer.finish()
    path = folder / f"{digest.hexdigest()}.corpus"
    os.replace(building, path)
    return _core.Corpus.open(os.fspath(path))


def _folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    if cache_dir is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache_dir = os.environ.get("WARMSTART_CACHE") or Path(home) / "warmstart"
    folder = Path(cache_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _paths(source: Corpus) -> list[Path] | None:
    """Return the files, or None for texts."""
    single = isinstance(source, str | os.PathLike)
    if isinstance(source, bytes):
        raise TypeError("a corpus is an iterable of str, or paths of files; got bytes")
    if not single and not (
        isinstance(source, list | tuple) and source and all(isinstance(item, os.PathLike) for item in source)
    ):
        if not isinstance(source, Iterable):
            raise TypeError(
                f"a corpus is an iterable of str, or paths of files; got {source!r} ({type(source).__name__})"
            )
        if not _are_names(source):
            return None
    paths = [Path(source)] if single else [Path(item) for item in source]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; a corpus is texts in a list, or files of text")
        if path.suffix.lower() not in _READERS:
            kinds = ", ".join(_READERS)
            raise ValueError(f"{path}: a corpus is one of {kinds}; for another form pass an iterable of its texts")
    return paths


def _are_names(source: Corpus) -> bool:
    """Whether these strings are files that are there: several are passed as str as well as as paths."""
    if not isinstance(source, list | tuple) or not source or not all(isinstance(item, str) for item in source):
        return False
    return all(len(item) < 4096 and Path(item).suffix.lower() in _READERS and Path(item).is_file() for item in source)


def _texts(source: Iterable[Any], digest: Any) -> Iterator[Piece]:
    for index, text in enumerate(source):
        if not isinstance(text, str):
            raise TypeError(f"corpus[{index}] is {text!r} ({type(text).__name__}); expected str")
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"corpus[{index}] is not valid Unicode: {error}") from error
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
        yield text, True


def _files(paths: list[Path], text_field: str, skipped: list[str] | None) -> Iterator[Piece]:
    for path in paths:
        yield from _READERS[path.suffix.lower()](path, text_field, skipped)


def _bad(path: Path, number: int, what: str, skipped: list[str] | None) -> None:
    place = f"{path}, line {number}: {what}"
    if skipped is None:
        raise _core.DataError(f'{place}; mend it, or leave such lines out with on_error="skip"')
    skipped.append(place)


def _text_file(path: Path, _: str, skipped: list[str] | None) -> Iterator[Piece]:
    open_document = False
    with path.open("rb") as file:
        for number, line in _lines(file):
            blank, first = True, True
            decoder = codecs.getincrementaldecoder("utf-8")()
            try:
                for part in line:
                    text = decoder.decode(part)
                    if text.strip():
                        if first and open_document:
                            yield "\n", False
                        yield text.rstrip("\r\n"), False
                        blank, first, open_document = False, False, True
                decoder.decode(b"", True)
            except UnicodeDecodeError as error:
                _bad(path, number, f"not UTF-8 ({error.reason})", skipped)
                continue
            if blank and open_document:
                yield "", True
                open_document = False
    if open_document:
        yield "", True


def _lines(file: Any) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Yield the number of each line, and its parts."""
    number = 0
    while first := file.readline(_PIECE):
        number += 1
        state = [first]

        def parts(state: list[bytes] = state) -> Iterator[bytes]:
            while state[0]:
                yield state[0]
                state[0] = b"" if state[0].endswith(b"\n") else file.readline(_PIECE)

        yield number, parts()
        while state[0] and not state[0].endswith(b"\n"):  # what nobody read of the line
            state[0] = file.readline(_PIECE)


def _json_lines(path: Path, text_field: str, skipped: list[str] | None) -> Iterator[Piece]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                _bad(path, number, f"not JSON ({error})", skipped)
                continue
            text = record.get(text_field) if isinstance(record, dict) else None
            if isinstance(text, str):
                yield text, True
            else:
                has = f"has {', '.join(map(repr, record))}" if isinstance(record, dict) else "is no object"
                _bad(path, number, f"no text in {text_field!r}: it {has}", skipped)


def _parquet(path: Path, text_field: str, _: list[str] | None) -> Iterator[Piece]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError(f"{path}: reading parquet needs pyarrow; pip install pyarrow") from error
    file = parquet.ParquetFile(path)
    if text_field not in file.schema_arrow.names:
        names = ", ".join(map(repr, file.schema_arrow.names))
        raise _core.DataError(f"{path}: has no column {text_field!r}; it has {names}")
    for batch in file.iter_batches(columns=[text_field]):
        for text in batch.column(0).to_pylist():
            if text is not None:
                yield str(text), True


_READERS = {".txt": _text_file, ".jsonl": _json_lines, ".parquet": _parquet}
