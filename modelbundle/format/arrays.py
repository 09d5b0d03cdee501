"""Numeric arrays as ``.npy`` entries; the reader checks the header before it uses it."""

from __future__ import annotations

import io
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from modelbundle.errors import FormatError

DTYPES = frozenset({"<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "<u4", "<u8", "<u2", "|u1", "|b1"})


def write(array: NDArray[Any]) -> bytes:
    """The ``.npy`` bytes of an array; raises :class:`ValueError` unless its type is one of :data:`DTYPES`."""
    array = np.ascontiguousarray(array)
    if array.dtype.str not in DTYPES:
        raise ValueError(f"arrays of type {array.dtype} cannot be stored")
    buffer = io.BytesIO()
    npy.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read(name: str, raw: bytes) -> NDArray[Any]:
    """The array in ``raw``, read-only and without a copy.

    Raises :class:`FormatError` unless the type is one of :data:`DTYPES` and the shape matches the number of bytes. The header
    alone never makes it allocate memory.
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
