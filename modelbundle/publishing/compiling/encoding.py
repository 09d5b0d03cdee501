"""What a preprocessing step makes of one raw column: the small language between a pipeline and a scorer.

A column on the way through a pipeline is one of three things. A :class:`Number` is a raw number after filling and scaling, and
rises with it. :class:`Labels` are a raw category as it is, perhaps filled. :class:`Steps` are anything with finitely many
values: an encoded category, a binned number, a mark for missing values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import LARGEST
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import Bins, NumberBins

Reached = Callable[[FloatArray], NDArray[np.bool_]]
INFINITY_BITS = 0x7FF0000000000000


@dataclass(frozen=True, slots=True)
class NotCompilable(Exception):
    """A scorer kind that cannot be made of this pipeline, and why, in a sentence."""

    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


class NotUnderstood(Exception):
    """A step or model that is not understood, whatever the kind of scorer; the message is a sentence."""


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
    """A raw number after ``chain``: operations by name, each with its operand; ``fill`` replaces missing values.

    Every operation rises with its input (factors are positive) and is monotone in floating point too, so the chain is.
    """

    feature: int
    chain: tuple[tuple[str, float], ...] = ()

    def then(self, operation: str, operand: float) -> Number:
        """The same with one more operation."""
        if operation in ("divide", "multiply") and not operand > 0:
            raise NotUnderstood("a number is scaled by a factor that is not positive")
        return replace(self, chain=(*self.chain, (operation, float(operand))))

    def at(self, raw: FloatArray) -> FloatArray:
        """The encoded values of raw ones, in the pipeline's own arithmetic; NaN is missing."""
        values = np.array(raw, dtype=np.float64)
        with np.errstate(all="ignore"):
            for operation, operand in self.chain:
                values = run(operation, operand, values)
        return values

    def first(self, reached: Reached, count: int) -> FloatArray:
        """For ``count`` conditions at once the smallest raw float64 whose encoded value meets them; infinity where none does.

        ``reached`` takes one encoded value per condition and must stay true once it is. The search halves the sequence of
        all finite floats, so it is exact whatever the rounding of the chain.
        """
        low = np.full(count, -(INFINITY_BITS - 1), dtype=np.int64)  # every float below is known not to reach
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
    """A column of finitely many values, one per bin of the raw column, the missing bin and (of categories) the unknown."""

    feature: int
    bins: Bins
    values: FloatArray

    def then(self, operation: str, operand: float) -> Steps:
        """The same after one more operation on its values."""
        with np.errstate(all="ignore"):
            return replace(self, values=run(operation, float(operand), self.values))


@dataclass(frozen=True, slots=True)
class Labels:
    """A raw category as it is; ``fill`` is what a missing one becomes (None: it stays missing)."""

    feature: int
    fill: str | None = None


Encoded = Number | Steps | Labels


def run(operation: str, operand: float, values: FloatArray) -> FloatArray:
    """One operation of a chain."""
    if operation == "fill":
        return np.where(np.isnan(values), operand, values)
    result: FloatArray = OPERATIONS[operation](values, operand)
    return result


def _float(ordered: NDArray[np.int64]) -> FloatArray:
    """The float64 at a place in the order of all floats: 0 is 0.0, 1 the smallest denormal, -1 its negative."""
    bits = np.where(ordered >= 0, ordered, np.int64(-(2**63)) - ordered)
    return bits.view(np.float64)
