"""Arrays in one entry: what is packed comes back, and no other bytes do harm."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest

from modelbundle.errors import FormatError
from modelbundle.format import arrays

TABLES: dict[str, Any] = {
    "b": np.arange(6, dtype="<f8").reshape(2, 3),
    "a": np.array([], dtype="|u1"),
    "c": np.array([[1], [2]], dtype="<i4"),
}


def test_what_is_packed_comes_back_the_same_bytes_for_the_same_arrays() -> None:
    """Whatever the order; read-only, aligned, and without copies."""
    raw = arrays.pack(TABLES)
    assert raw == arrays.pack(dict(reversed(TABLES.items())))
    found = arrays.unpack("x", raw)
    assert list(found) == ["a", "b", "c"]
    for name, array in TABLES.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert not found[name].flags.writeable
    assert arrays.unpack("x", arrays.pack({})) == {}


def test_only_numbers_are_packed() -> None:
    """Objects would be pickled."""
    with pytest.raises(ValueError, match="cannot be stored"):
        arrays.pack({"a": np.array([None])})


def described(index: Any, body: bytes = b"") -> bytes:
    content = index if isinstance(index, bytes) else json.dumps(index).encode()
    head = arrays.MAGIC + f"{len(content):0{arrays.DIGITS}d}".encode() + content
    return head + bytes(-len(head) % arrays.ALIGN) + body


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"arrays/1\n",
        arrays.MAGIC + b"9999999999[]",
        arrays.MAGIC + b"-000000002[]",
        described(b"{"),
        described(b"[" * 100_000),
        described({}),
        described([["a", "<f8", [1]]]),
        described([["a", "<f8", [1]]], bytes(63)),
        described([["a", "<f8", [1]]], bytes(128)),
        described([["a", "|O", [1]]], bytes(64)),
        described([["a", ["<f8"], [1]]], bytes(64)),
        described([["a", "<f8", [-1]]], bytes(64)),
        described([["a", "<f8", [1 << 39, 1 << 39, 1 << 39]]], bytes(64)),
        described([["a", "<f8", [1.0]]], bytes(64)),
        described([["a", "<f8", [True]]], bytes(64)),
        described([["a", "<f8", [1, 1, 1, 1]]], bytes(64)),
        described([["a", "<f8", [1]], ["a", "<f8", [1]]], bytes(128)),
        described([[1, "<f8", [1]]], bytes(64)),
        described([["a", "<f8"]], bytes(64)),
        described([["a", "|u1", [0]]], bytes(64)),
    ],
)
def test_other_bytes_are_refused(raw: bytes) -> None:
    """Before anything is allocated or read beyond its end."""
    with pytest.raises(FormatError):
        arrays.unpack("x", raw)


def test_every_truncation_and_every_flipped_bit_of_the_index_is_refused_or_harmless() -> None:
    """Never another exception."""
    raw = arrays.pack(TABLES)
    for cut in range(len(raw)):
        with pytest.raises(FormatError):
            arrays.unpack("x", raw[:cut])
    for place in range(128):
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            with contextlib.suppress(FormatError):
                arrays.unpack("x", bytes(changed))
