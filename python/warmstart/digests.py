"""`Digests`: what files contain, in 32 bytes each, without reading again those that did not change."""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

_READ_BYTES = 1 << 22
# The coarsest clock of a file system in use, FAT's. A change within one tick of it leaves the times as they were.
_TICK_NS = 2_000_000_000


class Digests:
    """SHA-256 digests of files, remembered in a directory.

    A file counts as unchanged while size, inode and both its times are the same: the time of the last change of its
    content can be set back, that of its inode cannot (Windows has the time of creation in its place). A file that
    changed just before it was read could change once more within the same tick of the clock, and is not remembered, as
    ccache does it.

    There is one small file for each path, written to a temporary name and renamed: processes that write at once do not
    hinder each other, and what is damaged or cannot be written costs no more than reading the file again.

    Parameters
    ----------
    directory : path
        Where they are remembered; made when the first one is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def recall(self, path: Path) -> bytes | None:
        """Return the digest of a file as it is now, if it is remembered."""
        try:
            check, content = self._entry(path).read_bytes().split(b"\n", 1)
        except (OSError, ValueError):
            return None
        if _hex(content) != check:
            return None
        entry = json.loads(content)
        return bytes.fromhex(entry["sha256"]) if entry["state"] == _state(path.stat()) else None

    def compute(self, path: Path, on_read: Callable[[int], None]) -> bytes:
        """Read a file, and remember its digest.

        Parameters
        ----------
        path : path
        on_read : callable
            Gets the number of bytes of each part that was read.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        digest, started = hashlib.sha256(), time.time_ns()
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            while block := file.read(_READ_BYTES):
                digest.update(block)
                on_read(len(block))
            after = os.fstat(file.fileno())
        is_settled = max(before.st_mtime_ns, before.st_ctime_ns) + _TICK_NS < started
        if is_settled and _state(before) == _state(after):
            self._remember(path, {"state": _state(before), "sha256": digest.hexdigest()})
        return digest.digest()

    def _remember(self, path: Path, entry: dict[str, object]) -> None:
        target, content = self._entry(path), json.dumps(entry).encode()
        temporary = target.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(_hex(content) + b"\n" + content)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def _entry(self, path: Path) -> Path:
        return self._directory / _hex(os.fsencode(os.path.abspath(path))).decode()


def _hex(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _state(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
