"""A bundle is read with holes, and verified whole."""

from __future__ import annotations

import io
from typing import Any

import pytest

from modelbundle.errors import FormatError, HashMismatch
from modelbundle.format import archive
from modelbundle.sharing import verified

ENTRIES = {"a.json": b"first", "b.arrays": b"large" * 1000, "c.joblib": b"larger" * 1000, "d.json": b"last", "e": b""}
PACKED = archive.pack(ENTRIES)
DIGEST = archive.digest(PACKED)


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("apart", [("b.arrays",), ("b.arrays", "c.joblib"), ("a.json", "e"), tuple(ENTRIES)])
def test_all_but_the_large_entries_come_and_their_places_are_right(
    apart: tuple[str, ...], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the pieces are that are read at a time."""
    monkeypatch.setattr(verified, "PIECE", piece)
    file = io.BytesIO(PACKED)
    places = archive.places(file, apart)
    assert {name: PACKED[place.start : place.stop] for name, place in places.items()} == {n: ENTRIES[n] for n in apart}
    assert verified.read(file, DIGEST, places) == {n: c for n, c in ENTRIES.items() if n not in apart}


def test_a_changed_byte_anywhere_is_found() -> None:
    """In a hole or not."""
    places = archive.places(io.BytesIO(PACKED), ("b.arrays", "c.joblib"))
    for at in range(0, len(PACKED), 37):
        changed = bytearray(PACKED)
        changed[at] ^= 1
        with pytest.raises(HashMismatch):
            verified.read(io.BytesIO(changed), DIGEST, places)


def test_places_that_the_verified_directory_does_not_name_are_refused() -> None:
    """The places came from a directory that nobody had verified."""
    places = archive.places(io.BytesIO(PACKED), ("b.arrays",))
    moved = {"b.arrays": range(places["b.arrays"].start + 1, places["b.arrays"].stop + 1)}
    with pytest.raises(FormatError):
        verified.read(io.BytesIO(PACKED), DIGEST, moved)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", PACKED[:-1], PACKED[20:], b"x" * 100], ids=range(5))
def test_a_file_that_is_no_archive_has_no_places(content: bytes) -> None:
    """Its hash says what is wrong with it."""
    assert archive.places(io.BytesIO(content), ("b.arrays",)) == {}


def test_an_entry_whose_header_says_something_else_has_no_place() -> None:
    """The content would begin elsewhere than the reader of an archive believes."""
    at = PACKED.index(b"b.arrays") - 2
    changed: Any = bytearray(PACKED)
    changed[at] = 4  # the length of the extra field
    assert archive.places(io.BytesIO(changed), ("b.arrays",)) == {}
    with pytest.raises(FormatError, match="header"):
        archive.read(io.BytesIO(changed), ("b.arrays",))
