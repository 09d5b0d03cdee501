"""Numeric arrays as one entry of a bundle: an index as JSON, and the arrays' bytes, each from a multiple of 64 on.

Bundles of format 1 have one ``.npy`` entry per array instead. In both forms, the reader checks everything before it uses it, and
no header makes it allocate memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from modelbundle.errors import FormatError

DTYPES = frozenset({"<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "<u4", "<u8", "<u2", "|u1", "|b1"})
MAGIC = b"arrays/1\n"
DIGITS = 10  # of the index's length, which follows the magic bytes
ALIGN = 64
MOST_INDEX_BYTES = 8 * 1024 * 1024


def pack(tables: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of named arrays; raises :class:`ValueError` for an array whose type is not one of :data:`DTYPES`."""
    index, blocks = [], []
    for name in sorted(tables):
        array = np.ascontiguousarray(tables[name])
        if array.dtype.str not in DTYPES:
            raise ValueError(f"arrays of type {array.dtype} cannot be stored")
        index.append([name, array.dtype.str, list(array.shape)])
        blocks.append(_padded(array.tobytes()))
    described = json.dumps(index, separators=(",", ":")).encode()
    return _padded(MAGIC + f"{len(described):0{DIGITS}d}".encode() + described) + b"".join(blocks)


def unpack(name: str, raw: bytes | memoryview) -> dict[str, NDArray[Any]]:
    """The arrays that :func:`pack` made, read-only and without copies; raises :class:`FormatError` for other bytes."""
    start = len(MAGIC) + DIGITS
    head = bytes(raw[:start])
    digits = head[len(MAGIC) :]
    if not head.startswith(MAGIC) or not digits.isdigit() or int(digits) > MOST_INDEX_BYTES:
        raise FormatError(name, "is not a set of arrays")
    at = start + int(digits)
    try:
        index = json.loads(bytes(raw[start:at]))
    except (ValueError, RecursionError):
        raise FormatError(name, "has an index that is not JSON") from None
    at += -at % ALIGN
    found: dict[str, NDArray[Any]] = {}
    for entry in index if isinstance(index, list) else [None]:
        own, dtype, shape = _described(name, entry)
        if own in found:
            raise FormatError(name, "has an array twice")
        size = prod(shape) * dtype.itemsize
        if at + size > len(raw):
            raise FormatError(name, "does not have the size in its index")
        found[own] = np.frombuffer(raw, dtype=dtype, count=prod(shape), offset=at).reshape(shape)
        at += size + -size % ALIGN
    if at != len(raw):
        raise FormatError(name, "does not have the size in its index")
    return found


def _described(name: str, entry: object) -> tuple[str, np.dtype[Any], list[int]]:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str) or str(entry[1]) not in DTYPES:
        raise FormatError(name, "has an array that is not numeric")
    shape = entry[2]
    if not isinstance(shape, list) or len(shape) > 3 or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
        raise FormatError(name, "has an array with a shape that is not possible")
    return entry[0], np.dtype(entry[1]), shape


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGN)


def read(name: str, raw: bytes) -> NDArray[Any]:
    """The array in the ``.npy`` bytes ``raw``, read-only and without a copy.

    Raises :class:`FormatError` unless the type is one of :data:`DTYPES` and the shape matches the number of bytes.
    """
    buffer = io.BytesIO(raw)
    try:
        if npy.read_magic(buffer) != (1, 0):
            raise ValueError
        shape, fortran, dtype = npy.read_array_header_1_0(buffer, max_header_size=1024)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise FormatError(name, "is not a numeric array") from None
    start = buffer.tell()
    if fortran or dtype.str not in DTYPES or len(shape) > 3 or any(n < 0 for n in shape):
        raise FormatError(name, "is not a numeric array")
    if prod(shape) * dtype.itemsize != len(raw) - start:
        raise FormatError(name, "does not have the size in its header")
    return np.frombuffer(raw, dtype=dtype, offset=start).reshape(shape)
