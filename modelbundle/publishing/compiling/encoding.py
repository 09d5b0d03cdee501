"""The intermediate representation of a raw column after preprocessing, between a pipeline and a scorer.

An encoded column is one of three. A :class:`Number` is a raw number after filling and scaling, and rises with it.
:class:`Labels` are a raw category, perhaps filled. :class:`Steps` have finitely many values: an encoded category, a binned
number, an indicator of missing values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import LARGEST
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import Bins, NumberBins

Reached = Callable[[FloatArray], NDArray[np.bool_]]
INFINITY_BITS = 0x7FF0000000000000


@dataclass(frozen=True, slots=True)
class NotCompilable(Exception):
    """A kind of scorer that the pipeline cannot be compiled into, and the reason in a sentence."""

    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


class NotSupported(Exception):
    """The compiler does not support a step or a model; the message is a sentence that says which."""


OPERATIONS: dict[str, np.ufunc] = {
    "subtract": np.subtract,
    "divide": np.divide,
    "multiply": np.multiply,
    "add": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@dataclass(frozen=True, slots=True)
class Number:
    """A raw number after the operations of ``chain`` (name, operand): ``fill`` replaces missing values, ``call`` is a function.

    Every operation is monotone and rises with its input, in floating point too, and so does the chain.
    """

    feature: int
    chain: tuple[tuple[str, Any], ...] = ()

    def then(self, operation: str, operand: Any) -> Number:
        """The column after one more operation."""
        if operation in ("divide", "multiply") and not operand > 0:
            raise NotSupported("a number is scaled by a factor that is not positive")
        return replace(self, chain=(*self.chain, (operation, operand if operation == "call" else float(operand))))

    def at(self, raw: FloatArray) -> FloatArray:
        """The encoded values of raw ones (NaN is missing), computed as the pipeline does, shape (n,)."""
        values = np.array(raw, dtype=np.float64)
        with np.errstate(all="ignore"):
            for operation, operand in self.chain:
                values = run(operation, operand, values)
        return values

    def first(self, reached: Reached, count: int) -> FloatArray:
        """The smallest raw float64 whose encoded value meets each of ``count`` conditions; infinity for none. Shape (count,).

        ``reached`` takes one encoded value per condition and stays true for larger values. The search halves the sequence of
        all finite floats, so it is exact whatever the rounding of the chain.
        """
        low = np.full(count, -(INFINITY_BITS - 1), dtype=np.int64)  # no float below meets the condition
        high = np.full(count, INFINITY_BITS, dtype=np.int64)
        while bool((low < high).any()):
            middle = (low >> 1) + (high >> 1) + (low & high & 1)
            with np.errstate(all="ignore"):
                hit = reached(self.at(_float(middle)))
            open_ = low < high
            high = np.where(open_ & hit, middle, high)
            low = np.where(open_ & ~hit, middle + 1, low)
        return _float(high)

    def steps(self, points: FloatArray) -> Steps:
        """The number where only its order relative to ``points`` matters: an exact stand-in for any function that is constant
        below, between and above them. Values are those of each bin's lower end (of the first bin: its upper end)."""
        points = np.unique(points)
        reach = self.first(lambda v: v >= points, len(points))
        beyond = self.first(lambda v: v > points, len(points))
        cuts = np.unique(np.concatenate([reach, beyond]))
        bins = NumberBins(cuts[np.isfinite(cuts) & (cuts > -LARGEST)])
        return Steps(self.feature, bins, self.at(bins.examples()))


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A column of finitely many values: one per bin of the raw column, with the missing and, of categories, the unknown bin."""

    feature: int
    bins: Bins
    values: FloatArray

    def then(self, operation: str, operand: Any) -> Steps:
        """The column after one more operation."""
        with np.errstate(all="ignore"):
            return replace(self, values=run(operation, operand, self.values))


@dataclass(frozen=True, slots=True)
class Labels:
    """A raw category; ``fill`` replaces a missing value, None keeps it missing. ``codes``: the values of its pandas type."""

    feature: int
    fill: str | None = None
    codes: tuple[str, ...] | None = None


Encoded = Number | Steps | Labels


def run(operation: str, operand: Any, values: FloatArray) -> FloatArray:
    """The result of one operation of a chain."""
    if operation == "call":
        called: FloatArray = operand(values)
        return called
    if operation == "fill":
        return np.where(np.isnan(values), operand, values)
    result: FloatArray = OPERATIONS[operation](values, operand)
    return result


def _float(ordered: NDArray[np.int64]) -> FloatArray:
    """The float64 at a position in the order of all floats: 0 is 0.0, 1 the smallest denormal, -1 its negative."""
    bits = np.where(ordered >= 0, ordered, np.int64(-(2**63)) - ordered)
    return bits.view(np.float64)
