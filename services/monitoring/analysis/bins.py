"""The bins in which live rows are counted: those of the bundle's ``reference.json``, and bins for values unseen in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import Feature
from modelbundle.scorers.base import Column

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bins(ABC):
    """The bins of one feature, or of the score.

    ``labels`` has the name of each bin, ``reference`` its count in training, shape (size,).
    ``missing`` and ``strange`` are the positions of the bins for missing values and for what training never saw.
    """

    labels: tuple[str, ...]
    reference: Floats
    missing: int | None
    strange: tuple[int, ...]

    @abstractmethod
    def indices(self, column: Column) -> NDArray[np.intp]:
        """The bin of every value of a column."""

    def count(self, column: Column) -> Floats:
        """How many values of a column fall into each bin, shape (size,)."""
        return np.bincount(self.indices(column), minlength=len(self.labels)).astype(np.float64)


@dataclass(frozen=True)
class NumberBins(Bins):
    """Below the range of training, between the deciles of training (each with its upper edge), above the range, missing."""

    edges: Floats
    low: float
    high: float

    @classmethod
    def of(cls, feature: Feature, entry: Mapping[str, Any]) -> NumberBins:
        """From the feature's entry in the reference."""
        low, high = feature.observed or (-np.inf, np.inf)
        labels = [f"below {number(low)}", *_between(entry["edges"]), f"above {number(high)}", "missing"]
        counts = [0, *entry["counts"], 0, entry["missing"]]
        strange = (0, len(labels) - 2)
        reference = np.array(counts, dtype=np.float64)
        return cls(tuple(labels), reference, len(labels) - 1, strange, np.array(entry["edges"], float), low, high)

    def indices(self, column: Column) -> NDArray[np.intp]:
        """See :class:`Bins`."""
        values = np.asarray(column, dtype=np.float64)
        found = np.searchsorted(self.edges, values, side="left") + 1
        found[values < self.low] = 0
        found[values > self.high] = len(self.labels) - 2
        found[np.isnan(values)] = len(self.labels) - 1
        return found


@dataclass(frozen=True)
class CategoryBins(Bins):
    """One per category that the schema names, one for all others, one for missing values."""

    positions: dict[str | None, int]

    @classmethod
    def of(cls, feature: Feature, entry: Mapping[str, Any]) -> CategoryBins:
        """From the feature's entry in the reference."""
        named = feature.categories
        counts = [entry["categories"].get(category, 0) for category in named]
        labels = (*named, "never seen", "missing")
        reference = np.array([*counts, entry["other"], entry["missing"]], dtype=np.float64)
        positions: dict[str | None, int] = {category: i for i, category in enumerate(named)}
        positions[None] = len(named) + 1
        return cls(labels, reference, len(named) + 1, (len(named),), positions)

    def indices(self, column: Column) -> NDArray[np.intp]:
        """See :class:`Bins`."""
        other = self.strange[0]
        return np.fromiter((self.positions.get(value, other) for value in column), dtype=np.intp, count=len(column))


@dataclass(frozen=True)
class ScoreBins(Bins):
    """Between the deciles of the probability in training."""

    edges: Floats

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> ScoreBins:
        """From the probability's entry in the reference."""
        labels = _between(entry["edges"], percent)
        return cls(tuple(labels), np.array(entry["counts"], np.float64), None, (), np.array(entry["edges"], float))

    def indices(self, column: Column) -> NDArray[np.intp]:
        """See :class:`Bins`."""
        return np.searchsorted(self.edges, np.asarray(column, dtype=np.float64), side="left")


def number(value: float) -> str:
    """A value in a few characters: ``35,000``, ``0.0671``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(rate: float) -> str:
    """A rate in a few characters: ``2.1 %``, ``40 %``."""
    return (
        f"{100 * rate:.0f} %" if rate >= 0.0995 else f"{100 * rate:.1f} %" if rate >= 0.00095 else f"{100 * rate:.2g} %"
    )


def _between(edges: list[float], text: Any = number) -> list[str]:
    if not edges:
        return ["any"]
    inner = [f"{text(low)} to {text(high)}" for low, high in pairwise(edges)]
    return [f"up to {text(edges[0])}", *inner, f"above {text(edges[-1])}"]
