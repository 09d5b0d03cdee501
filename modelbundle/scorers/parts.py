"""Checked access to the header and the arrays of a stored scorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import Bins, CategoryBins, NumberBins

LIMIT = 1e300  # of an entry of a table, so that sums stay finite
BLOCK = 1 << 19  # numbers that are checked at a time: no large array is made, and the interpreter is rarely asked for


def every(array: NDArray[Any], fits: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> bool:
    """Whether all numbers of ``array`` fit, a block at a time."""
    flat = array.reshape(-1)
    return all(bool(fits(flat[begin : begin + BLOCK]).all()) for begin in range(0, len(flat), BLOCK))


class Parts:
    """A header and arrays; every method checks and raises :class:`FormatError`."""

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        self.header = header
        self.arrays = arrays
        self.schema = schema
        self._used: set[str] = set()

    def entries(self, key: str, most: int) -> list[Any]:
        """The list under ``key`` in the header, with at most ``most`` entries; empty for a missing key."""
        found = self.header.get(key, [])
        if not isinstance(found, list) or len(found) > most:
            raise FormatError("scorer", f"{key} must be a list of at most {most}")
        return found

    def number(self, value: object) -> float:
        """A finite number of the header."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -LIMIT < value < LIMIT:
            raise FormatError("scorer", "its numbers must be finite")
        return float(value)

    def position(self, value: object, size: int) -> int:
        """An index below ``size``."""
        if type(value) is not int or not 0 <= value < size:
            raise FormatError("scorer", f"an index must be an integer from 0 to {size - 1}")
        return value

    def array(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """The array ``name`` with that little-endian type; None in ``shape`` is any length."""
        found = self.arrays.get(name)
        if found is None or found.dtype != np.dtype(dtype) or found.ndim != len(shape):
            raise FormatError("scorer", f"{name} must be an array of type {dtype} with {len(shape)} dimensions")
        if any(want is not None and have != want for want, have in zip(shape, found.shape, strict=True)):
            raise FormatError("scorer", f"{name} has the wrong shape")
        self._used.add(name)
        return found

    def floats(self, name: str, shape: tuple[int | None, ...]) -> FloatArray:
        """An array of float64 below :data:`LIMIT`."""
        found = self.array(name, "<f8", shape)
        if not every(found, lambda block: np.abs(block) < LIMIT):
            raise FormatError("scorer", f"{name} must be finite")
        return found

    def indices(self, name: str, dtype: str, shape: tuple[int | None, ...], below: int) -> NDArray[Any]:
        """An array of indices below ``below``."""
        found = self.array(name, dtype, shape)
        if not every(found, lambda block: (block >= 0) & (block < below)):
            raise FormatError("scorer", f"{name} has an index out of bounds")
        return found

    def bins(self, i: int, feature: Feature, entry: object) -> Bins:
        """The bins of feature ``i``: the array ``cuts_i`` for a number, ``labels`` in the header for a category."""
        if not isinstance(entry, dict) or entry.get("kind") != feature.kind:
            raise FormatError("scorer", f"the bins of {feature.name} are not for a {feature.kind}")
        if feature.kind == "number":
            cuts = self.array(f"cuts_{i}", "<f8", (None,))
            if not bool(np.isfinite(cuts).all()) or not bool((cuts[1:] > cuts[:-1]).all()):
                raise FormatError("scorer", f"the cuts of {feature.name} must be finite and ascend")
            return NumberBins(cuts)
        labels = entry.get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise FormatError("scorer", f"the labels of {feature.name} must be strings")
        if len(set(labels)) != len(labels):
            raise FormatError("scorer", f"the labels of {feature.name} must be distinct")
        return CategoryBins(tuple(labels))

    def nothing_else(self) -> None:
        """Check that no array is left that no method has read."""
        if set(self.arrays) != self._used:
            raise FormatError("scorer", "has arrays that its header does not mention")
