"""Reads a bundle and verifies its SHA-256 without having its large entries in memory.

The file is read once, a piece at a time. Each byte is hashed; all but those of the large entries are kept, and only what was
kept is parsed. Reading and hashing a piece hold the interpreter for microseconds, so other threads answer meanwhile.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, BinaryIO

from modelbundle.errors import FormatError, HashMismatch
from modelbundle.format import archive

PIECE = 1 << 23  # bytes


def read(file: BinaryIO, version: str, apart: Mapping[str, range]) -> dict[str, bytes]:
    """The entries of the bundle in ``file``, whose SHA-256 is ``version``, without those in ``apart``.

    ``apart`` has the places of their content, as :func:`modelbundle.format.archive.places` found them in the file; they are
    compared with what was verified. Raises :class:`HashMismatch` and :class:`FormatError`.
    """
    size = file.seek(0, io.SEEK_END)
    kept = [(part.start, bytearray(len(part))) for part in _between(apart.values(), size)]
    known = hashlib.sha256()
    piece = memoryview(bytearray(PIECE))
    at = file.seek(0)
    while count := file.readinto(piece):  # type: ignore[attr-defined]
        known.update(piece[:count])
        for start, content in kept:
            begin, end = max(start, at), min(start + len(content), at + count)
            if begin < end:
                content[begin - start : end - start] = piece[begin - at : end - at]
        at += count
    if (found := known.hexdigest()) != version:
        raise HashMismatch(version, found)
    entries, places = archive.read(io.BufferedReader(_WithHoles(kept, size)), apart)
    if places != apart:
        raise FormatError("archive", "its directory was changed while it was read")
    return entries


def _between(holes: Collection[range], size: int) -> list[range]:
    """What is left of ``size`` bytes."""
    ends = [range(0), *sorted(holes, key=lambda hole: hole.start), range(size, size)]
    return [range(before.stop, after.start) for before, after in pairwise(ends)]


class _WithHoles(io.RawIOBase):
    """A file of ``size`` bytes of which parts are known: (start, content), ascending. The others read as zeros."""

    def __init__(self, parts: Collection[tuple[int, bytearray]], size: int) -> None:
        self._parts = parts
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, (0, self._at, self._size)[whence] + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Up to the end of a part or of a hole, which is what a raw file may do."""
        at, end = self._at, self._size
        for start, content in self._parts:
            if start <= at < start + len(content):
                found = content[at - start : at - start + len(buffer)]
                break
            if at < start:
                end = min(end, start)
        else:
            found = bytearray(max(0, min(len(buffer), end - at)))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
