"""The tables of a bundle in a file of their own, which processes map into memory: all of them share its pages.

The file's content is the entry of the bundle, byte for byte, so its SHA-256 is in the bundle's manifest, and each process
compares. A file that is missing, short or changed is made anew from the verified bundle. A file is never written to under its
name, only replaced: what a process has mapped stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from modelbundle.durable import Disk
from modelbundle.errors import FormatError
from modelbundle.format.archive import digest

SUFFIX = ".tables"
LEAST = 1 << 20  # bytes; smaller tables are read into each process
PIECE = 1 << 23  # bytes that are copied at a time
READ_ONLY = 0o400


class Content:
    """The bytes of the tables, ``view``, read-only: of a file that is mapped, or of this process alone."""

    def __init__(self, view: memoryview, descriptor: int = -1) -> None:
        self.view = view
        self._descriptor = descriptor
        self._seen = _state(descriptor) if descriptor >= 0 else None
        if descriptor >= 0:
            weakref.finalize(self, os.close, descriptor)

    @property
    def shared(self) -> bool:
        """Whether other processes have the same pages."""
        return self._seen is not None

    def intact(self) -> bool:
        """Whether nobody has written to the file since it was compared. It may have been removed, or replaced by another."""
        if self._seen is None:
            return True
        now = _state(self._descriptor)
        return now == self._seen or (now.links == 0 and now[:3] == self._seen[:3])


class SharedTables:
    """The file ``path`` for the tables of one bundle. ``told`` is told why it could not be made."""

    def __init__(self, path: Path, disk: Disk | None = None, told: Callable[[str], None] = lambda _: None) -> None:
        self.path = path
        self.disk = disk or Disk()
        self.told = told

    def content(self, bundle: BinaryIO, place: range, sha256: str) -> Content:
        """The bytes at ``place`` of a bundle, mapped; read into this process where the disk has no room for the file.

        Raises :class:`FormatError` where they do not have this SHA-256, and :class:`OSError` where the bundle cannot be read.
        """
        try:
            return self._shared(bundle, place, sha256)
        except OSError as error:
            self.told(f"{type(error).__name__}: {error}")
        bundle.seek(place.start)
        own = bundle.read(len(place))
        if digest(own) != sha256:
            raise FormatError(self.path.name, "the tables do not have the SHA-256 in the manifest")
        return Content(memoryview(own))

    def _shared(self, bundle: BinaryIO, place: range, sha256: str) -> Content:
        if found := self._mapped(len(place), sha256):
            return found
        with _turn(self.path.parent):
            if found := self._mapped(len(place), sha256):
                return found  # another process has made it meanwhile
            self._make(bundle, place, sha256)
            if found := self._mapped(len(place), sha256):
                return found
        raise OSError("the tables' file was changed while it was made")

    def _mapped(self, size: int, sha256: str) -> Content | None:
        """The file as it is, mapped; None unless it is whole and nobody but root may write to it."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or stat.S_IMODE(facts.st_mode) & 0o222 or facts.st_size != size:
            os.close(descriptor)
            return None
        found = Content(memoryview(mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)), descriptor)
        return found if digest(found.view) == sha256 and found.intact() else None

    def _make(self, bundle: BinaryIO, place: range, sha256: str) -> None:
        """Copy the tables from the bundle. What has another hash than the manifest says never gets the name."""
        temporary = self.path.parent / f".{self.path.name}.{os.urandom(4).hex()}"
        known = hashlib.sha256()
        descriptor = self.disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            try:
                for piece in _pieces(bundle, place):
                    known.update(piece)
                    self.disk.write(descriptor, piece)
                os.fchmod(descriptor, READ_ONLY)
                self.disk.fsync(descriptor)  # each page has a place on the disk: reading one without is a signal
            finally:
                os.close(descriptor)
            if known.hexdigest() != sha256:
                raise FormatError(self.path.name, "the tables do not have the SHA-256 in the manifest")
            self.disk.replace(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _pieces(bundle: BinaryIO, place: range) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(PIECE))
    bundle.seek(place.start)
    left = len(place)
    while left:
        count = bundle.readinto(buffer[: min(PIECE, left)])  # type: ignore[attr-defined]
        if not count:
            raise OSError("the bundle is shorter than it was")
        yield buffer[:count]
        left -= count


class _State(NamedTuple):
    """What any write to a file, or to its rights, changes. ``changed`` alone changes when it is removed, too."""

    size: int
    written: int
    mode: int
    changed: int
    links: int


def _state(descriptor: int) -> _State:
    facts = os.fstat(descriptor)
    return _State(facts.st_size, facts.st_mtime_ns, facts.st_mode, facts.st_ctime_ns, facts.st_nlink)


@contextlib.contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """One process at a time makes files in a directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
