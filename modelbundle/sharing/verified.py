"""Reads a bundle and verifies its SHA-256 without having its tables in memory.

The file is read once, a piece at a time. Each byte is hashed; all but the tables' are kept, and only what was kept is parsed.
Reading and hashing a piece hold the interpreter for microseconds, so other threads answer meanwhile.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any, BinaryIO

from modelbundle.errors import FormatError, HashMismatch
from modelbundle.format import archive

PIECE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """The entries of a verified bundle, but for one: its content is at ``place`` of the file."""

    entries: dict[str, bytes]
    place: range


def read(file: BinaryIO, version: str, apart: str, least: int) -> Contents | None:
    """The entries of the bundle in ``file``, whose SHA-256 is ``version``; None where ``apart`` has less than ``least`` bytes.

    In that case nothing is verified. Raises :class:`HashMismatch` and :class:`FormatError`.
    """
    place = archive.place(file, apart)
    if len(place) < least:
        return None
    kept = bytearray()
    known = hashlib.sha256()
    piece = memoryview(bytearray(PIECE))
    at = file.seek(0)
    while count := file.readinto(piece):  # type: ignore[attr-defined]
        known.update(piece[:count])
        kept += piece[: min(count, max(0, place.start - at))]
        kept += piece[min(count, max(0, place.stop - at)) : count]
        at += count
    if (found := known.hexdigest()) != version:
        raise HashMismatch(version, found)
    entries, again = archive.read(io.BufferedReader(_WithHole(bytes(kept), place)), apart)
    if again != place:
        raise FormatError("archive", "its directory has changed")
    return Contents(entries, place)


class _WithHole(io.RawIOBase):
    """A file of which the bytes of one place are not known, and read as zeros."""

    def __init__(self, kept: bytes, hole: range) -> None:
        self._kept = memoryview(kept)
        self._hole = hole
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._at, len(self._kept) + len(self._hole))[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Up to the next end of the hole, which is what a raw file may do."""
        at, hole = self._at, self._hole
        if at in hole:
            count = min(len(buffer), hole.stop - at)
            buffer[:count] = bytes(count)
        else:
            inside = at if at < hole.start else at - len(hole)
            until = hole.start if at < hole.start else len(self._kept)
            found = self._kept[inside : min(until, inside + len(buffer))]
            count = len(found)
            buffer[:count] = found
        self._at += count
        return count
