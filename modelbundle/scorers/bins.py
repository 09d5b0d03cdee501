"""Bins: the position in a table of a raw value, of a missing value and of an unknown one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.scorers.base import AnyColumn, Coded, Column, FloatArray, Value

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Places:
    """The bin of every row: ``bins[codes]``, or ``bins`` for a column that is not coded."""

    bins: Indices
    codes: Indices | None = None

    def __len__(self) -> int:
        return len(self.bins if self.codes is None else self.codes)

    def look_up(self, table: NDArray[Any]) -> NDArray[Any]:
        """The entry of ``table`` (one per bin) for every row."""
        found = table.take(self.bins)
        return found if self.codes is None else found.take(self.codes)

    def of(self, begin: int, end: int) -> Indices:
        """The bins of the rows from ``begin`` to ``end``."""
        return self.bins[begin:end] if self.codes is None else self.bins.take(self.codes[begin:end])


class _Bins(ABC):
    @abstractmethod
    def indices(self, column: Column) -> Indices:
        """The bin of every value of a column."""

    def places(self, column: AnyColumn) -> Places:
        """The bin of every row of a column."""
        if isinstance(column, Coded):
            return Places(self.indices(column.values), column.codes)
        return Places(self.indices(column))


@dataclass(frozen=True)
class NumberBins(_Bins):
    """Bins of a number: ``cuts`` ascending, k cuts make k + 1 bins; a value equal to a cut is above it.

    Bin k + 1 is for missing values.
    """

    cuts: FloatArray

    @property
    def size(self) -> int:
        """The number of bins, including the one for missing values."""
        return len(self.cuts) + 2

    @property
    def missing(self) -> int:
        """The bin of a missing value."""
        return len(self.cuts) + 1

    def lower_ends(self) -> FloatArray:
        """The smallest value of each bin except the missing one, shape (k + 1,); the first is minus infinity."""
        return np.concatenate([[-np.inf], self.cuts])

    def examples(self) -> FloatArray:
        """One value of each bin, shape (k + 2,): the upper end of the first, the lower ends of the others, NaN for missing."""
        first = np.nextafter(self.cuts[:1], -np.inf) if len(self.cuts) else np.zeros(1)
        return np.concatenate([first, self.cuts, [np.nan]])

    def finder(self) -> Callable[[Value], int]:
        """A function from a number to its bin."""
        return partial(bisect_right, self.cuts.tolist())

    def indices(self, column: Column) -> Indices:
        """The bin of every value of a column."""
        numbers = np.asarray(column, dtype=np.float64)
        found = np.searchsorted(self.cuts, numbers, side="right")
        found[np.isnan(numbers)] = self.missing
        return found


@dataclass(frozen=True)
class CategoryBins(_Bins):
    """Bins of a category: one per label, one for missing values, one for unknown labels."""

    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        """The number of bins, including those for missing and unknown values."""
        return len(self.labels) + 2

    @property
    def missing(self) -> int:
        """The bin of a missing value; the next one is for unknown labels."""
        return len(self.labels)

    def finder(self) -> Callable[[Value], int]:
        """A function from a label to its bin."""
        return self._positions.__getitem__

    def indices(self, column: Column) -> Indices:
        """The bin of every value of a column."""
        return np.fromiter(map(self._positions.__getitem__, column), dtype=np.intp, count=len(column))

    @cached_property
    def _positions(self) -> _Positions:
        known = _Positions({label: k for k, label in enumerate(self.labels)})
        known[None] = self.missing
        known.unknown = self.missing + 1
        return known


Bins = NumberBins | CategoryBins


class _Positions(dict[object, int]):
    """Bins by label; any other label is unknown. Looking up a known label makes no Python call."""

    unknown: int

    def __missing__(self, key: object) -> int:
        return self.unknown
