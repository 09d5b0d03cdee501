"""Collects the terms of an additive model, each with its own bins, and gives each feature common bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelbundle.publishing.compiling.encoding import NotSupported
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.additive import FARTHEST, AdditiveScorer, LinearTerm, Pair
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import Bins, CategoryBins, NumberBins
from modelbundle.scorers.parts import LIMIT

Places = NDArray[np.int64]


def union(feature: Feature, several: Sequence[Bins]) -> tuple[Bins, list[Places]]:
    """The common refinement of ``several`` bins, and for each of them the bin that contains each common bin."""
    if feature.kind == "number":
        cuts = [bins.cuts for bins in several if isinstance(bins, NumberBins)]
        common = NumberBins(np.unique(np.concatenate([np.empty(0), *cuts])))
        lower = common.lower_ends()
        # each common bin lies within one bin of each; its lower end says which
        return common, [np.append(np.searchsorted(c, lower, side="right"), len(c) + 1) for c in cuts]
    labels = [bins.labels for bins in several if isinstance(bins, CategoryBins)]
    every = CategoryBins(tuple(sorted({label for some in labels for label in some})))
    places = []
    for some in labels:
        at = {label: k for k, label in enumerate(some)}
        unknown = len(some) + 1
        places.append(np.array([*(at.get(label, unknown) for label in every.labels), len(some), unknown]))
    return every, places


class Terms:
    """The terms of an additive scorer, collected one by one."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.intercept = 0.0
        self._mains: list[tuple[int, Bins, FloatArray]] = []
        self._pairs: list[tuple[tuple[int, int], tuple[Bins, Bins], FloatArray]] = []
        self._lines: dict[tuple[int, float], float] = {}

    def add_table(self, feature: int, bins: Bins, table: FloatArray) -> None:
        """A term of one feature, one value per bin."""
        self._mains.append((feature, bins, table))

    def add_pair(self, features: tuple[int, int], bins: tuple[Bins, Bins], table: FloatArray) -> None:
        """A term of two features, one value per two bins."""
        self._pairs.append((features, bins, table))

    def add_line(self, feature: int, slope: float, center: float) -> None:
        """A term ``slope * (value - center)``, 0 where the value is missing."""
        self._lines[feature, center] = self._lines.get((feature, center), 0.0) + slope

    def scorer(self) -> AdditiveScorer:
        """The sum as one table per feature, lines and pairs. Raises :class:`NotSupported` for a number that is not finite."""
        bins, tables, maps = [], [], []
        for i, feature in enumerate(self.schema):
            own = [(b, table) for f, b, table in self._mains if f == i]
            own_pairs = [b for features, two, _ in self._pairs for f, b in zip(features, two, strict=True) if f == i]
            common, places = union(feature, [b for b, _ in own] + own_pairs)
            total = np.zeros(common.size)
            for place, (_, table) in zip(places, own, strict=False):
                total += table[place]
            bins.append(common)
            tables.append(total)
            maps.append(places[len(own) :])
        pairs = []
        for (i, j), _, table in self._pairs:
            pairs.append(Pair((i, j), maps[i].pop(0).astype(np.int64), maps[j].pop(0).astype(np.int64), table))
        lines = [LinearTerm(feature, slope, center) for (feature, center), slope in self._lines.items() if slope]
        numbers = [np.array([self.intercept]), *tables, *(pair.table.reshape(-1) for pair in pairs)]
        if not all(bool((np.abs(part) < LIMIT).all()) for part in numbers):
            raise NotSupported("a term of the model is not finite")
        if any(not abs(line.slope) < LIMIT or not abs(line.center) < FARTHEST for line in lines):
            raise NotSupported("a line of the model is not finite")
        return AdditiveScorer(self.intercept, bins, tables, pairs, lines=lines)
