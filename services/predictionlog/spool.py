"""The spool: files that requests append to, and that the shipper empties. The package's docstring shows the way of a row."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OPEN, CLOSED = ".open", ".segment"
CLOSE_EVERY = 0.5  # seconds
FEW = 4  # closed segments of one writer that may wait; beyond that they are not closed before they have
LARGE = 4 * 1024 * 1024  # bytes
LOCK = "lock"
READ = 1 << 20  # bytes of a segment that are read at a time


class Full(OSError):
    """The spool has reached its limit. Appending fails until the shipper has made room."""


class Writer:
    """One process's spool below ``root``, created after the fork. Its directory stays locked while the process lives.

    Methods raise :class:`OSError` where the disk does.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.full = False
        self.directory, self._held = _settle(root)
        self._lock = threading.Lock()
        self._number = 0
        self._descriptor = -1
        self._path = self.directory
        self._dirty = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._open()

    def start(self) -> None:
        """Close segments from now on, in a thread."""
        self._thread.start()

    def append(self, *parts: bytes | memoryview, whatever: bool = False) -> None:
        """Append whole lines, given in parts. The kernel has them when this returns.

        Raises :class:`Full`, except with ``whatever``, which is for small and rare lines.
        """
        if self.full and not whatever:
            raise Full(28, "the spool is full")
        with self._lock:
            self._dirty = True
            written = os.writev(self._descriptor, parts)
            if written != sum(map(len, parts)):  # a disk that fills up: what was torn is not taken for a line
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
                raise OSError(28, "No space left on device")

    def close(self) -> None:
        """Close the last segment and leave."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)
        with self._lock:
            before = self._descriptor, self._path
            self._descriptor = -1
        _finish(*before)
        os.close(self._held)

    def turn(self) -> None:
        """Sync the open segment to the disk and close it, if it has lines; then measure how full the spool is.

        While the database is away, the segment stays open until it is large: measuring takes longer with more files.
        """
        if self._dirty and self._behind():
            os.fsync(self._descriptor)
        elif self._dirty:
            with self._lock:
                before = self._descriptor, self._path
                self._open()
            _finish(*before)  # outside the lock: no request waits for the disk
        self.full = size(self.root) >= self.max_bytes

    def _run(self) -> None:
        while not self._stop.wait(CLOSE_EVERY):
            with suppress(OSError):  # the next turn tries again
                self.turn()

    def _behind(self) -> bool:
        closed = sum(1 for _ in self.directory.glob(f"*{CLOSED}"))
        return closed >= FEW and os.fstat(self._descriptor).st_size < LARGE

    def _open(self) -> None:
        self._number += 1
        self._path = self.directory / f"{self._number:012d}{OPEN}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._dirty = False


def _settle(root: Path) -> tuple[Path, int]:
    """A new writer's directory, and its lock, which is held."""
    while True:
        directory = root / f"{time.time_ns():x}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        directory.mkdir(parents=True)
        held = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        if os.fstat(held).st_nlink:
            return directory, held
        os.close(held)  # before it was held, the shipper took it for that of a writer which has ended: see adopt


def _finish(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        os.rename(path, path.with_suffix(CLOSED))


def size(root: Path) -> int:
    """Bytes in the spool, of all writers."""
    total = 0
    for path in _files(root):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def oldest(root: Path) -> float | None:
    """The time of the last write to the segment that waits longest (Unix time); None where no segment waits."""
    times = []
    for path in _files(root):
        with suppress(FileNotFoundError):
            facts = path.stat()
            if facts.st_size:
                times.append(facts.st_mtime)
    return min(times, default=None)


def waiting(root: Path) -> frozenset[str]:
    """The segments with lines that are not shipped yet, open ones too, by names that do not change when a segment is closed."""
    found = set()
    for path in _files(root):
        with suppress(FileNotFoundError):
            if path.stat().st_size:
                found.add(f"{path.parent.name}/{path.stem}")
    return frozenset(found)


def _files(root: Path) -> Iterator[Path]:
    yield from named(root, OPEN)
    yield from named(root, CLOSED)


def named(root: Path, ending: str) -> list[Path]:
    """The files of all writers with this ending, sorted. ``Path.glob`` raises where a directory is removed meanwhile."""
    found: list[Path] = []
    with suppress(FileNotFoundError):
        for directory in root.iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):
                found.extend(path for path in directory.iterdir() if path.name.endswith(ending))
    return sorted(found)


def adopt(root: Path) -> None:
    """Close the segments of dead writers, and remove their empty directories."""
    for lock in named(root, LOCK):
        directory = lock.parent
        with suppress(FileNotFoundError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for path in directory.glob(f"*{OPEN}"):
                    path.rename(path.with_suffix(CLOSED))
                if not any(directory.glob(f"*{CLOSED}")):
                    lock.unlink()
                    with suppress(OSError):  # what is damaged stays
                        directory.rmdir()
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)


def abandoned(root: Path) -> bool:
    """Whether an ended writer left lines that are not shipped."""
    for lock in named(root, LOCK):
        with suppress(FileNotFoundError, BlockingIOError), lock.open("rb+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(path.stat().st_size for path in lock.parent.iterdir() if path.suffix in (OPEN, CLOSED)):
                return True
    return False


def segments(root: Path) -> list[Path]:
    """The closed segments, oldest first by writer and number."""
    return named(root, CLOSED)


def lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a segment, one at a time. A last line without its end was never acknowledged, and is left out."""
    with path.open("rb", buffering=READ) as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line
