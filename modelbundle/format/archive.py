"""The archive of a bundle: a zip file of stored entries, reproducible byte for byte.

Entries are sorted by name, with a fixed date and mode and without extra fields, so that the same content gives the same
SHA-256. The reader refuses any archive that :func:`pack` would not write, before it allocates memory for its entries.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Collection, Mapping
from typing import BinaryIO

from modelbundle.errors import FormatError, HashMismatch

MAX_ENTRIES = 64
MAX_BYTES = 512 * 1024 * 1024
EPOCH = (1980, 1, 1, 0, 0, 0)
NAME = re.compile(r"[a-z0-9_]+(?:[./-][a-z0-9_]+){0,4}")
_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s22s2H")  # signature, what the directory repeats, lengths of name and extra field
DAMAGES = (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, RuntimeError, struct.error)


def digest(data: bytes | memoryview) -> str:
    """The SHA-256 of ``data`` in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def verify_digest(data: bytes | memoryview, expected: str) -> None:
    """Raise :class:`HashMismatch` unless the SHA-256 of ``data`` is ``expected``."""
    if (found := digest(data)) != expected:
        raise HashMismatch(expected, found)


def pack(entries: Mapping[str, bytes]) -> bytes:
    """The archive of ``entries`` (name to content), the same bytes for the same entries. Raises :class:`FormatError`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            if not NAME.fullmatch(name):
                raise FormatError(name, "is not a valid name of an entry")
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            archive.writestr(info, entries[name])
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The entries of an archive; raises :class:`FormatError` for an archive that :func:`pack` would not write."""
    return read(io.BytesIO(data))[0]


def read(file: BinaryIO, apart: Collection[str] = ()) -> tuple[dict[str, bytes], dict[str, range]]:
    """The entries of the archive in a file, and of those in ``apart`` only the place of their content in the file.

    The last 22 bytes give the number of entries and the size of the directory; both are checked before the directory is
    parsed. Entries are not compressed, so they need no more memory than the archive. Raises :class:`FormatError` for an
    archive that :func:`pack` would not write.
    """
    size = _check_end(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return _entries(archive, file, size, apart)
    except DAMAGES as error:
        raise FormatError("archive", f"damaged ({type(error).__name__})") from None


def places(file: BinaryIO, names: Collection[str]) -> dict[str, range]:
    """Where the content of entries is, as the directory of the file says; without those that the file does not have."""
    try:
        _check_end(file)
        with zipfile.ZipFile(file) as archive:
            return {info.filename: _place(info, file) for info in archive.infolist() if info.filename in names}
    except (FormatError, *DAMAGES):
        return {}


def _check_end(file: BinaryIO) -> int:
    """Check the record at the end of an archive, and return the archive's size."""
    size = file.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise FormatError("archive", f"larger than {MAX_BYTES} bytes")
    file.seek(0)
    if size < _END.size or file.read(4) != b"PK\x03\x04":
        raise FormatError("archive", "not a bundle (no zip header)")
    file.seek(size - _END.size)
    signature, _, _, here, total, length, offset, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or comment or here != total:
        raise FormatError("archive", "truncated, or has bytes after its end")
    if total > MAX_ENTRIES or length > MAX_ENTRIES * 256 or offset + length + _END.size != size:
        raise FormatError("archive", f"more than {MAX_ENTRIES} entries, or a directory of the wrong size")
    return size


def _entries(
    archive: zipfile.ZipFile, file: BinaryIO, limit: int, apart: Collection[str]
) -> tuple[dict[str, bytes], dict[str, range]]:
    entries: dict[str, bytes] = {}
    found: dict[str, range] = {}
    taken = 0
    for info in archive.infolist():
        name = info.orig_filename
        if not NAME.fullmatch(name):
            raise FormatError("archive", "an entry has a name that is not allowed")
        if name in entries or name in found:
            raise FormatError(name, "is in the archive twice")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits:
            raise FormatError(name, "is compressed or encrypted")
        if info.external_attr >> 16 != 0o100644 or info.extra or info.comment:
            raise FormatError(name, "is not a regular file")
        taken += info.file_size
        if taken > limit:
            raise FormatError(name, "overlaps another entry")
        if name in apart:
            found[name] = _place(info, file)
        else:
            entries[name] = archive.read(info)
    return entries, found


def _place(info: zipfile.ZipInfo, file: BinaryIO) -> range:
    """Where the content of an entry is, after its header; raises :class:`FormatError` for another header than the directory's."""
    name = info.orig_filename.encode()
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size + len(name))
    signature, _, length, extra = _LOCAL.unpack_from(header)
    if signature != b"PK\x03\x04" or length != len(name) or extra or header[_LOCAL.size :] != name:
        raise FormatError("archive", "an entry has a header that is not allowed")
    start = info.header_offset + len(header)
    return range(start, start + info.file_size)
