"""Additive models as look-up tables: one per feature, one per pair of features.

The score is ``intercept + table_0[bin_0] + ... + pair_0[bin_i, bin_j] + ...``, added in that order in float64, for one row and
for columns alike. A number falls into the bin after the last cut that is not above it; a missing value has a bin of its own,
and so has a category that the tables do not know. A pair may use coarser bins: an index map leads from the feature's bin to
the pair's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.schema import Schema
from modelbundle.scorers.base import Column, FloatArray, Row, Scorer

MOST_PAIRS = 200
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class NumberBins:
    """Bins of a number: ``cuts`` ascending, k cuts make k + 1 bins; bin k + 1 is for missing values."""

    cuts: FloatArray

    @property
    def size(self) -> int:
        """How many bins there are, the missing value's included."""
        return len(self.cuts) + 2


@dataclass(frozen=True)
class CategoryBins:
    """Bins of a category: one per label, then one for missing values, then one for labels that are not known."""

    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many bins there are, those for missing and unknown values included."""
        return len(self.labels) + 2


Bins = NumberBins | CategoryBins


@dataclass(frozen=True)
class Pair:
    """A table on two features' bins; ``left`` and ``right`` map their bins to the table's rows and columns."""

    features: tuple[int, int]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    table: FloatArray


class AdditiveScorer(Scorer):
    """See the module. ``averages`` are the tables' means over the training rows, one per feature and then one per pair."""

    kind: ClassVar[str] = "additive"
    link = "logit"
    has_contributions = True

    def __init__(
        self,
        intercept: float,
        bins: Sequence[Bins],
        tables: Sequence[FloatArray],
        pairs: Sequence[Pair],
        averages: Sequence[float] | None = None,
    ) -> None:
        self.intercept = intercept
        self.bins = tuple(bins)
        self.tables = tuple(tables)
        self.pairs = tuple(pairs)
        self._set_averages(averages if averages is not None else [0.0] * (len(tables) + len(pairs)))

    def _set_averages(self, averages: Sequence[float]) -> None:
        self.averages = tuple(averages)
        n = len(self.bins)
        self.baseline = self.intercept
        for average in self.averages:
            self.baseline += average
        self._centered = tuple(table - self.averages[i] for i, table in enumerate(self.tables))
        self._halves = tuple((pair.table - self.averages[n + i]) * 0.5 for i, pair in enumerate(self.pairs))
        self._plan = [self._finder(i) for i in range(n)]
        self._pair_plan = [
            (*pair.features, pair.left.tolist(), pair.right.tolist(), pair.table.tolist(), half.tolist())
            for pair, half in zip(self.pairs, self._halves, strict=True)
        ]

    def _finder(self, i: int) -> tuple[Any, ...]:
        bins, table, centered = self.bins[i], self.tables[i].tolist(), self._centered[i].tolist()
        if isinstance(bins, NumberBins):
            return bins.cuts.tolist(), None, len(bins.cuts) + 1, 0, table, centered
        found = {label: k for k, label in enumerate(bins.labels)}
        return None, found.get, len(bins.labels), len(bins.labels) + 1, table, centered

    def fit_averages(self, columns: Sequence[Column]) -> None:
        """Measure the averages on the training columns; contributions are against them."""
        indices = self._indices(columns)
        terms = [table[k] for table, k in zip(self.tables, indices, strict=True)]
        terms += [self._pair_terms(pair, pair.table, indices) for pair in self.pairs]
        self._set_averages([float(np.add.accumulate(term)[-1] / len(term)) for term in terms])

    # One row, in plain Python: faster than numpy for so little

    def score_row(self, row: Row) -> float:
        """The log-odds of one row."""
        score = self.intercept
        at = []
        for value, (cuts, find, missing, unknown, table, _) in zip(row, self._plan, strict=True):
            if value is None:
                k = missing
            elif cuts is not None:
                k = bisect_right(cuts, value)
            else:
                k = find(value, unknown)
            at.append(k)
            score += table[k]
        for i, j, left, right, table, _ in self._pair_plan:
            score += table[left[at[i]]][right[at[j]]]
        return score

    def contributions_row(self, row: Row) -> list[float]:
        """See :meth:`Scorer.contributions_row`."""
        return self.explain_row(row)[1]

    def explain_row(self, row: Row) -> tuple[float, list[float]]:
        """Score and contributions from one set of look-ups."""
        score = self.intercept
        at = []
        contributions = []
        for value, (cuts, find, missing, unknown, table, centered) in zip(row, self._plan, strict=True):
            if value is None:
                k = missing
            elif cuts is not None:
                k = bisect_right(cuts, value)
            else:
                k = find(value, unknown)
            at.append(k)
            score += table[k]
            contributions.append(centered[k])
        for i, j, left, right, table, halves in self._pair_plan:
            a, b = left[at[i]], right[at[j]]
            score += table[a][b]
            half = halves[a][b]
            contributions[i] += half
            contributions[j] += half
        return score, contributions

    # Columns

    def score_columns(self, columns: Sequence[Column]) -> FloatArray:
        """The log-odds of n rows, shape (n,)."""
        indices = self._indices(columns)
        scores = np.full(len(indices[0]), self.intercept)
        for table, k in zip(self.tables, indices, strict=True):
            scores += table[k]
        for pair in self.pairs:
            scores += self._pair_terms(pair, pair.table, indices)
        return scores

    def contributions_columns(self, columns: Sequence[Column]) -> FloatArray:
        """See :meth:`Scorer.contributions_columns`."""
        indices = self._indices(columns)
        result = np.empty((len(indices[0]), len(indices)))
        for i, k in enumerate(indices):
            result[:, i] = self._centered[i][k]
        for pair, halves in zip(self.pairs, self._halves, strict=True):
            half = self._pair_terms(pair, halves, indices)
            for feature in pair.features:
                result[:, feature] += half
        return result

    def _indices(self, columns: Sequence[Column]) -> list[Indices]:
        found: list[Indices] = []
        for bins, column, plan in zip(self.bins, columns, self._plan, strict=True):
            if isinstance(bins, NumberBins):
                numbers = np.asarray(column, dtype=np.float64)
                k = np.searchsorted(bins.cuts, numbers, side="right")
                k[np.isnan(numbers)] = len(bins.cuts) + 1
            else:
                _, find, missing, unknown, _, _ = plan
                k = np.array([missing if v is None else find(v, unknown) for v in column], dtype=np.intp)
            found.append(k)
        return found

    @staticmethod
    def _pair_terms(pair: Pair, table: FloatArray, indices: Sequence[Indices]) -> FloatArray:
        i, j = pair.features
        terms: FloatArray = table[pair.left[indices[i]], pair.right[indices[j]]]
        return terms

    # Storage

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header: bins, pairs, intercept, averages. Arrays: ``cuts_i``, ``table_i``, ``pair_n`` and its two maps."""
        arrays: dict[str, NDArray[Any]] = {}
        features: list[dict[str, Any]] = []
        for i, (bins, table) in enumerate(zip(self.bins, self.tables, strict=True)):
            arrays[f"table_{i}"] = table
            if isinstance(bins, NumberBins):
                arrays[f"cuts_{i}"] = bins.cuts
                features.append({"kind": "number"})
            else:
                features.append({"kind": "category", "labels": list(bins.labels)})
        for n, pair in enumerate(self.pairs):
            arrays.update({f"pair_{n}": pair.table, f"left_{n}": pair.left, f"right_{n}": pair.right})
        header = {
            "intercept": self.intercept,
            "features": features,
            "pairs": [list(pair.features) for pair in self.pairs],
            "averages": list(self.averages),
        }
        return header, arrays

    @classmethod
    def from_parts(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema
    ) -> AdditiveScorer:
        """See :meth:`Scorer.from_parts`."""
        return _Reader(header, arrays, schema).scorer()


class _Reader:
    """Reads the parts of a scorer and trusts none of them."""

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        self.header = header
        self.arrays = arrays
        self.schema = schema

    def scorer(self) -> AdditiveScorer:
        features, pairs, averages = (self.header.get(key) for key in ("features", "pairs", "averages"))
        if not isinstance(features, list) or len(features) != len(self.schema):
            raise FormatError("scorer", "must have one table per feature")
        if not isinstance(pairs, list) or len(pairs) > MOST_PAIRS:
            raise FormatError("scorer", "pairs must be a list")
        if not isinstance(averages, list) or len(averages) != len(features) + len(pairs):
            raise FormatError("scorer", "must have one average per table")
        bins = [self._bins(i, entry) for i, entry in enumerate(features)]
        tables = [self._floats(f"table_{i}", (b.size,)) for i, b in enumerate(bins)]
        read = [self._pair(n, entry, bins) for n, entry in enumerate(pairs)]
        expected = {f"table_{i}" for i in range(len(bins))}
        expected |= {f"cuts_{i}" for i, b in enumerate(bins) if isinstance(b, NumberBins)}
        expected |= {f"{part}_{n}" for n in range(len(read)) for part in ("pair", "left", "right")}
        if set(self.arrays) != expected:
            raise FormatError("scorer", "has other arrays than its header says")
        intercept = self._number(self.header.get("intercept"))
        return AdditiveScorer(intercept, bins, tables, read, [self._number(a) for a in averages])

    def _bins(self, i: int, entry: Any) -> Bins:
        feature = self.schema.features[i]
        if not isinstance(entry, dict) or entry.get("kind") != feature.kind:
            raise FormatError("scorer", f"the bins of {feature.name} are not for a {feature.kind}")
        if feature.kind == "number":
            cuts = self._floats(f"cuts_{i}", None)
            if not bool((np.diff(cuts) > 0).all()):
                raise FormatError("scorer", f"the cuts of {feature.name} do not ascend")
            return NumberBins(cuts)
        labels = entry.get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise FormatError("scorer", f"the labels of {feature.name} must be strings")
        if len(set(labels)) != len(labels):
            raise FormatError("scorer", f"the labels of {feature.name} must be distinct")
        return CategoryBins(tuple(labels))

    def _pair(self, n: int, entry: Any, bins: Sequence[Bins]) -> Pair:
        if (
            not isinstance(entry, list)
            or len(entry) != 2
            or not all(type(i) is int and 0 <= i < len(bins) for i in entry)
        ):
            raise FormatError("scorer", f"pair {n} must name two features")
        table = self._floats(f"pair_{n}", None, 2)
        maps = []
        for axis, (name, feature) in enumerate(zip(("left", "right"), entry, strict=True)):
            where = self.arrays.get(f"{name}_{n}")
            if where is None or where.dtype != np.int64 or where.shape != (bins[feature].size,):
                raise FormatError("scorer", f"pair {n} needs an index for every bin")
            if not bool(((where >= 0) & (where < table.shape[axis])).all()):
                raise FormatError("scorer", f"pair {n} has an index outside its table")
            maps.append(where)
        return Pair((entry[0], entry[1]), maps[0], maps[1], table)

    def _floats(self, name: str, shape: tuple[int, ...] | None, dimensions: int = 1) -> FloatArray:
        array = self.arrays.get(name)
        if array is None or array.dtype != np.float64 or array.ndim != dimensions:
            raise FormatError("scorer", f"{name} must be {dimensions}-dimensional float64")
        if shape is not None and array.shape != shape:
            raise FormatError("scorer", f"{name} must have {shape[0]} values")
        if not bool((np.abs(array) < 1e300).all()) and not name.startswith("cuts_"):
            raise FormatError("scorer", f"{name} must be finite")
        if name.startswith("cuts_") and not bool(np.isfinite(array).all()):
            raise FormatError("scorer", f"{name} must be finite")
        return array

    @staticmethod
    def _number(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
            raise FormatError("scorer", "intercept and averages must be finite numbers")
        return float(value)
