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
from collections.abc import Mapping

from modelbundle.errors import FormatError, HashMismatch

MAX_ENTRIES = 64
MAX_BYTES = 512 * 1024 * 1024
EPOCH = (1980, 1, 1, 0, 0, 0)
NAME = re.compile(r"[a-z0-9_]+(?:[./-][a-z0-9_]+){0,4}")
_END = struct.Struct("<4s4H2LH")


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
    """The entries of an archive; raises :class:`FormatError` for an archive that :func:`pack` would not write.

    The last 22 bytes give the number of entries and the size of the directory; both are checked before the directory is
    parsed. Entries are not compressed, so they need no more memory than the archive.
    """
    if len(data) > MAX_BYTES:
        raise FormatError("archive", f"larger than {MAX_BYTES} bytes")
    if not data.startswith(b"PK\x03\x04") or len(data) < _END.size:
        raise FormatError("archive", "not a bundle (no zip header)")
    signature, _, _, here, total, size, offset, comment = _END.unpack(data[-_END.size :])
    if signature != b"PK\x05\x06" or comment or here != total:
        raise FormatError("archive", "truncated, or has bytes after its end")
    if total > MAX_ENTRIES or size > MAX_ENTRIES * 256 or offset + size + _END.size != len(data):
        raise FormatError("archive", f"more than {MAX_ENTRIES} entries, or a directory of the wrong size")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _entries(archive, len(data))
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
        struct.error,
    ) as error:
        raise FormatError("archive", f"damaged ({type(error).__name__})") from None


def _entries(archive: zipfile.ZipFile, limit: int) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    taken = 0
    for info in archive.infolist():
        name = info.orig_filename
        if not NAME.fullmatch(name):
            raise FormatError("archive", "an entry has a name that is not allowed")
        if name in entries:
            raise FormatError(name, "is in the archive twice")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits:
            raise FormatError(name, "is compressed or encrypted")
        if info.external_attr >> 16 != 0o100644 or info.extra or info.comment:
            raise FormatError(name, "is not a regular file")
        taken += info.file_size
        if taken > limit:
            raise FormatError(name, "overlaps another entry")
        entries[name] = archive.read(info)
    return entries
