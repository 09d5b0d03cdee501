"""The bundle's container."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
from typing import Any

import pytest

from modelbundle.errors import FormatError, HashMismatch
from modelbundle.format import archive

ENTRIES = {"manifest.json": b"{}\n", "scorer/table.npy": bytes(range(256)) * 10}


def by_zipfile(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for info, content in entries:
            made.writestr(info, content)
    return buffer.getvalue()


def plain(name: str, mode: int = 0o100644, compression: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, archive.EPOCH)
    info.compress_type = compression
    info.external_attr = mode << 16
    info.create_system = 3
    return info


def test_the_same_entries_are_the_same_bytes() -> None:
    """Packing is reproducible, whatever the order of the entries, and unpacking gives them back."""
    packed = archive.pack(ENTRIES)
    assert packed == archive.pack(dict(reversed(ENTRIES.items())))
    assert archive.unpack(packed) == ENTRIES


def test_a_hash_that_does_not_match_says_both() -> None:
    """The expected and the found hash are facts of the error."""
    with pytest.raises(HashMismatch) as caught:
        archive.verify_digest(b"x", "0" * 64)
    assert caught.value.expected == "0" * 64
    assert caught.value.found == archive.digest(b"x")


HOSTILE = {
    "empty": b"",
    "not a zip": b"\x80\x05pickle",
    "climbs out": by_zipfile((plain("../outside"), b"x")),
    "absolute": by_zipfile((plain("/etc/passwd"), b"x")),
    "symlink": by_zipfile((plain("link", stat.S_IFLNK | 0o777), b"/etc/passwd")),
    "deflated bomb": by_zipfile((plain("bomb", compression=zipfile.ZIP_DEFLATED), bytes(10_000_000))),
    "too many": by_zipfile(*((plain(f"n{i}"), b"") for i in range(archive.MAX_ENTRIES + 1))),
    "something follows": archive.pack(ENTRIES) + b"x",
    "something precedes": b"x" + archive.pack(ENTRIES),
    "a comment": archive.pack(ENTRIES)[:-2] + b"\x01\x00x",
    "truncated": archive.pack(ENTRIES)[:-30],
}


@pytest.mark.attack("archives")
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_pack_does_not_write_is_refused(content: bytes) -> None:
    """Everything that a writer of bundles would not have produced is a FormatError."""
    with pytest.raises(FormatError):
        archive.unpack(content)


def test_a_name_that_stands_twice_is_refused() -> None:
    """Two entries of one name could be read differently by two readers."""
    with pytest.warns(UserWarning, match="Duplicate"):
        content = by_zipfile((plain("same"), b"1"), (plain("same"), b"2"))
    with pytest.raises(FormatError, match="twice"):
        archive.unpack(content)


@pytest.mark.attack("archives")
def test_every_flipped_bit_is_noticed_or_harmless(record_property: Any) -> None:
    """A changed byte ends in a FormatError or in the same entries, never in others or in another exception."""
    packed = archive.pack(ENTRIES)
    for position in range(len(packed)):
        damaged = bytearray(packed)
        damaged[position] ^= 0x41
        with contextlib.suppress(FormatError):
            assert archive.unpack(bytes(damaged)) == ENTRIES, position
    record_property("sent", len(packed))


@pytest.mark.attack("archives")
def test_every_truncation_is_refused(record_property: Any) -> None:
    """A file that lost its end is never read."""
    packed = archive.pack(ENTRIES)
    for length in range(len(packed)):
        with pytest.raises(FormatError):
            archive.unpack(packed[:length])
    record_property("sent", len(packed))


@pytest.mark.attack("archives")
def test_a_directory_that_claims_too_much_is_refused_before_it_is_read() -> None:
    """The counts in the last 22 bytes bound what the reader does."""
    packed = bytearray(archive.pack(ENTRIES))
    struct.pack_into("<H", packed, len(packed) - 14, 65535)
    struct.pack_into("<H", packed, len(packed) - 12, 65535)
    with pytest.raises(FormatError, match="entries"):
        archive.unpack(bytes(packed))
