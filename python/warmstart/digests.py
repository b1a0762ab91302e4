"""`Digests`: cached SHA-256 digests of files, so that unchanged files are not read again."""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

_READ_BYTES = 1 << 22
# FAT has the coarsest clock of the file systems in use. A change within one tick of it leaves the times unchanged.
_TICK_NS = 2_000_000_000


class Digests:
    """SHA-256 digests of files, remembered in a directory.

    A file counts as unchanged while its size, inode, modification time and inode change time are the same: the
    modification time can be set back, the inode change time cannot (on Windows the creation time is used in its place).
    A file that changed just before it was read could change again within the same clock tick, so its digest is not
    stored, as in ccache.

    Each path has one small file, written under a temporary name and then renamed, so that processes can write at the
    same time. If that file is damaged or cannot be written, the original is just read again.

    Parameters
    ----------
    directory : path
        Where digests are stored; created on the first write.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def recall(self, path: Path) -> bytes | None:
        """Return the digest of an unchanged file; None if it is not stored."""
        try:
            check, content = self._entry(path).read_bytes().split(b"\n", 1)
        except (OSError, ValueError):
            return None
        if _hex(content) != check:
            return None
        entry = json.loads(content)
        return bytes.fromhex(entry["sha256"]) if entry["state"] == _state(path.stat()) else None

    def compute(self, path: Path, on_read: Callable[[int], None]) -> bytes:
        """Read a file, and store its digest.

        Parameters
        ----------
        path : path
        on_read : callable
            Called with the number of bytes of each part that was read.

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
