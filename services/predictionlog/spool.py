"""The spool: files that requests append to, and that the shipper empties. The package's docstring shows the way of a row.

A line is the CRC-32 of its content in eight hexadecimal digits, a space, and the content, which is JSON. A line that begins with
``[`` is one without a checksum, as versions before wrote it, or as a person mended it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from services import private

OPEN, CLOSED = ".open", ".segment"
CLOSE_EVERY = 0.5  # seconds
FEW = 4  # closed segments of one writer that may wait; beyond that they are not closed before they have
LARGE = 4 * 1024 * 1024  # bytes
LOCK = "lock"
CHECKSUM = 9  # bytes at the start of a line
READ = 1 << 20  # bytes of a segment that are read at a time


class Damaged(ValueError):
    """The bytes of a line are not those that were appended."""


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
        self.trouble = ""  # why the last turn failed
        self.directory, self._held = _settle(root)
        self._lock = threading.Lock()
        self._number = 0
        self._torn = False  # whether the open segment ends in the middle of a line
        self._dirty = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        try:
            self._path, self._descriptor = self._open()
        except BaseException:
            _leave(self.directory, self._held)
            raise

    def start(self) -> None:
        """Close segments from now on, in a thread."""
        self._thread.start()

    def append(self, *lines: bytes, whatever: bool = False) -> None:
        """Append whole lines, each with a checksum. The kernel has them when this returns.

        Raises :class:`Full`, except with ``whatever``, which is for small and rare lines.
        """
        if self.full and not whatever:
            raise Full(28, "the spool is full")
        parts: list[bytes] = []
        for line in lines:
            parts += (checksum(line), line)
        with self._lock:
            self._dirty = True
            if self._torn:
                parts.insert(0, b"\n")  # what was torn is a line of its own
            written = os.writev(self._descriptor, parts)
            if written != sum(map(len, parts)):  # a disk that fills up
                self._cut_off(written)
                raise OSError(28, "No space left on device")
            self._torn = False

    def close(self) -> None:
        """Close the last segment and leave."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)
        with self._lock:
            before, self._descriptor, self._path = self._descriptor, -1, self.directory
        with ExitStack() as always:
            always.callback(os.close, self._held)
            always.callback(self._close_others)
            _finish(before)

    def turn(self) -> None:
        """Sync the open segment to the disk and close it, if it has lines; then measure how full the spool is.

        While the database is away, the segment stays open until it is large: measuring takes longer with more files.
        """
        with ExitStack() as always:  # whatever fails of it, the rest is done
            always.callback(self._measure)
            always.callback(self._close_others)
            if self._dirty and self._behind():
                os.fsync(self._descriptor)
            elif self._dirty:
                path, descriptor = self._open()
                with self._lock:
                    before, self._descriptor, self._path = self._descriptor, descriptor, path
                    self._dirty = self._torn = False
                _finish(before)  # outside the lock: no request waits for the disk

    def _run(self) -> None:
        while not self._stop.wait(CLOSE_EVERY):
            try:
                self.turn()
                self.trouble = ""
            except OSError as error:  # the next turn tries again
                self.trouble = error.strerror or str(error)

    def _behind(self) -> bool:
        closed = sum(1 for _ in self.directory.glob(f"*{CLOSED}"))
        return closed >= FEW and os.fstat(self._descriptor).st_size < LARGE

    def _open(self) -> tuple[Path, int]:
        """The next segment. It becomes the current one only once it is open: until then, the one before takes the lines."""
        path = self.directory / f"{self._number + 1:012d}{OPEN}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._number += 1
        return path, descriptor

    def _close_others(self) -> None:
        """Give every segment but the current one to the shipper, also one that could not be closed in its turn."""
        for path in _in(self.directory, OPEN):
            if path != self._path:
                os.rename(path, path.with_suffix(CLOSED))

    def _measure(self) -> None:
        self.full = size(self.root) >= self.max_bytes

    def _cut_off(self, written: int) -> None:
        """Take back the last bytes, which are a part of a line, so that no later line is joined to them."""
        before, self._torn = self._torn, True
        with suppress(OSError):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            self._torn = before


def _settle(root: Path) -> tuple[Path, int]:
    """A new writer's directory, and its lock, which is held. Nothing is left behind when it fails."""
    while True:
        directory = root / f"{time.time_ns():x}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        private.directory(directory)
        held = -1
        try:
            held = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(held, fcntl.LOCK_EX)
            if os.fstat(held).st_nlink:
                return directory, held
            os.close(held)  # before it was held, the shipper took it for that of a writer which has ended: see adopt
        except FileNotFoundError:
            pass  # the shipper found the directory empty
        except BaseException:
            _leave(directory, held)
            raise


def _leave(directory: Path, held: int) -> None:
    """Undo :func:`_settle`, as far as the disk lets."""
    with suppress(OSError):
        (directory / LOCK).unlink(missing_ok=True)
        directory.rmdir()
    if held >= 0:
        os.close(held)


def _finish(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    for directory in _entries(root):
        found.extend(_in(directory, ending))
    return sorted(found)


def _in(directory: Path, ending: str) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return [path for path in directory.iterdir() if path.name.endswith(ending)]
    return []


def adopt(root: Path) -> None:
    """Close the segments of dead writers, and remove their empty directories. Raises :class:`OSError` once it has tried all."""
    trouble = None
    for directory in [path for path in _entries(root) if path.is_dir()]:
        try:
            _adopt(directory)
        except OSError as error:  # of one writer: the others' rows do not wait for it
            trouble = error
    if trouble is not None:
        raise trouble


def _adopt(directory: Path) -> None:
    try:
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        with suppress(OSError):  # what is damaged stays; a writer that has just begun makes another directory
            directory.rmdir()
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in _in(directory, OPEN):
            path.rename(path.with_suffix(CLOSED))
        if not _in(directory, CLOSED):
            (directory / LOCK).unlink()
            with suppress(OSError):
                directory.rmdir()
    except BlockingIOError:
        pass  # its writer lives
    finally:
        os.close(descriptor)


def _entries(root: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return list(root.iterdir())
    return []


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


def raw_lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a segment as they are there. A last line without its end was never acknowledged, and is left out."""
    with path.open("rb", buffering=READ) as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def checksum(line: bytes) -> bytes:
    """What a line with this content begins with."""
    return b"%08x " % zlib.crc32(line)


def apart(raw: bytes) -> tuple[bytes, bytes]:
    """The checksum and the content of a line; one without a checksum has an empty one."""
    return (b"", raw) if raw.startswith(b"[") else (raw[:CHECKSUM], raw[CHECKSUM:])


def content(raw: bytes) -> bytes:
    """What was appended as this line; raises :class:`Damaged`."""
    own, line = apart(raw)
    if own and own != checksum(line):
        raise Damaged("the checksum does not fit")
    return line


def lines(path: Path) -> Iterator[bytes]:
    """What was appended to a segment, one line at a time. Damaged lines are left out; the shipper sets them aside."""
    for raw in raw_lines(path):
        try:
            found = content(raw)
        except Damaged:
            continue
        yield found
