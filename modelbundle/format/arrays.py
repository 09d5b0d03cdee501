"""Plain arrays as ``.npy`` entries, read without trusting their headers."""

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
    """The ``.npy`` bytes of a contiguous little-endian array; raises :class:`ValueError` for other types."""
    array = np.ascontiguousarray(array)
    if array.dtype.str not in DTYPES:
        raise ValueError(f"arrays of type {array.dtype} cannot be stored")
    buffer = io.BytesIO()
    npy.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read(name: str, raw: bytes) -> NDArray[Any]:
    """The array in ``raw``, read-only and without a copy.

    Raises :class:`FormatError` unless the header is plain, its type is one of :data:`DTYPES`, and its shape accounts for
    every byte: nothing is allocated on a header's word.
    """
    buffer = io.BytesIO(raw)
    try:
        if npy.read_magic(buffer) != (1, 0):
            raise ValueError
        shape, fortran, dtype = npy.read_array_header_1_0(buffer, max_header_size=1024)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise FormatError(name, "not a plain array") from None
    start = buffer.tell()
    if fortran or dtype.str not in DTYPES or len(shape) > 3 or any(n < 0 for n in shape):
        raise FormatError(name, "not a plain array")
    if prod(shape) * dtype.itemsize != len(raw) - start:
        raise FormatError(name, "its size is not what its header says")
    return np.frombuffer(raw, dtype=dtype, offset=start).reshape(shape)
