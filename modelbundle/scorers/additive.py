"""Additive models as look-up tables: one per feature, one per pair of features, and straight lines.

The score is ``intercept + table_0[bin_0] + ... + line_0 + ... + pair_0[bin_i, bin_j] + ...``, added in float64 in that order,
for a row and for columns. A number is in the bin after the last cut that is not above it. Missing values and unknown
categories have separate bins. A pair may use coarser bins: an index map gives the pair's bin for the feature's bin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.schema import Schema
from modelbundle.scorers.base import AnyColumn, Column, FloatArray, Row, Scorer, plain
from modelbundle.scorers.bins import Bins, CategoryBins, NumberBins, Places
from modelbundle.scorers.parts import Parts

MOST_PAIRS = 200
STEEPEST = 1e250  # limit of a line's value, so that a huge input gives probability 0 or 1 instead of NaN
FARTHEST = 1e290  # limit of a line's centre, so that a finite value minus it is finite


@dataclass(frozen=True)
class LinearTerm:
    """The term ``slope * (value - center)`` of a number; 0 for a missing one, which the feature's table covers."""

    feature: int
    slope: float
    center: float


@dataclass(frozen=True)
class Pair:
    """The table of two features; ``left`` and ``right`` map their bins to its rows and columns."""

    features: tuple[int, int]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    table: FloatArray


class AdditiveScorer(Scorer):
    """The additive scorer. ``averages`` are the means of the terms over the training rows: features, lines, then pairs."""

    kind: ClassVar[str] = "additive"
    link = "logit"
    has_contributions = True

    def __init__(
        self,
        intercept: float,
        bins: Sequence[Bins],
        tables: Sequence[FloatArray],
        pairs: Sequence[Pair] = (),
        averages: Sequence[float] | None = None,
        lines: Sequence[LinearTerm] = (),
    ) -> None:
        self.intercept = intercept
        self.bins = tuple(bins)
        self.tables = tuple(tables)
        self.pairs = tuple(pairs)
        self.lines = tuple(lines)
        terms = len(self.tables) + len(self.lines) + len(self.pairs)
        self._set_averages(averages if averages is not None else [0.0] * terms)

    def _set_averages(self, averages: Sequence[float]) -> None:
        self.averages = tuple(averages)
        features, lines = len(self.tables), len(self.lines)
        self.baseline = self.intercept
        for average in self.averages:
            self.baseline += average
        self._line_averages = self.averages[features : features + lines]
        self._centered = tuple(table - a for table, a in zip(self.tables, self.averages, strict=False))
        self._pair_averages = self.averages[features + lines :]
        halves = zip(self.pairs, self._pair_averages, strict=True)
        self._halves = tuple((pair.table - average) * 0.5 for pair, average in halves)
        self._plan = [
            (b.finder(), b.missing, table.tolist(), centered.tolist())
            for b, table, centered in zip(self.bins, self.tables, self._centered, strict=True)
        ]
        self._line_plan = [
            (line.feature, line.slope, line.center, average)
            for line, average in zip(self.lines, self._line_averages, strict=True)
        ]
        self._pair_plan = [
            (*pair.features, pair.left.tolist(), pair.right.tolist(), pair.table.tolist(), half.tolist())
            for pair, half in zip(self.pairs, self._halves, strict=True)
        ]

    def fit_averages(self, columns: Sequence[AnyColumn]) -> None:
        """Set the averages from the training columns; contributions are relative to them."""
        indices = self._indices(columns)
        terms = [k.look_up(table) for table, k in zip(self.tables, indices, strict=True)]
        terms += [_line_terms(line, columns[line.feature]) for line in self.lines]
        terms += [_pair_terms(pair, indices) for pair in self.pairs]
        self._set_averages([float(np.add.accumulate(term)[-1] / len(term)) for term in terms])

    def cuts(self, feature: int) -> list[float]:
        """The values of a number at which the score jumps, ascending; empty for a category."""
        bins = self.bins[feature]
        return bins.cuts.tolist() if isinstance(bins, NumberBins) else []

    def labels(self, feature: int) -> tuple[str, ...]:
        """The labels of a category with a separate score; empty for a number."""
        bins = self.bins[feature]
        return bins.labels if isinstance(bins, CategoryBins) else ()

    def own_terms(self, feature: int, column: Column) -> FloatArray:
        """The contributions of one feature without its pairs, for n values, shape (n,), in log-odds."""
        terms: FloatArray = self._centered[feature][self.bins[feature].indices(column)]
        for line, average in zip(self.lines, self._line_averages, strict=True):
            if line.feature == feature:
                terms = terms + (_line_terms(line, column) - average)
        return terms

    def pair_terms(self, n: int) -> FloatArray:
        """The table of pair ``n`` minus its average; half of it goes to each of the two features."""
        return self._halves[n] * 2.0

    # One row, in plain Python, which is faster than numpy here

    def score_row(self, row: Row) -> float:
        """The log-odds of one row."""
        score = self.intercept
        at = []
        for value, (find, missing, table, _) in zip(row, self._plan, strict=True):
            k = missing if value is None else find(value)
            at.append(k)
            score += table[k]
        for i, slope, center, _ in self._line_plan:
            if (value := row[i]) is not None:
                score += min(max(slope * (value - center), -STEEPEST), STEEPEST)  # type: ignore[operator]
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
        for value, (find, missing, table, centered) in zip(row, self._plan, strict=True):
            k = missing if value is None else find(value)
            at.append(k)
            score += table[k]
            contributions.append(centered[k])
        for i, slope, center, average in self._line_plan:
            term = 0.0
            if (value := row[i]) is not None:
                term = min(max(slope * (value - center), -STEEPEST), STEEPEST)  # type: ignore[operator]
                score += term
            contributions[i] += term - average
        for i, j, left, right, table, halves in self._pair_plan:
            a, b = left[at[i]], right[at[j]]
            score += table[a][b]
            half = halves[a][b]
            contributions[i] += half
            contributions[j] += half
        return score, contributions

    # Columns

    def score_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """The log-odds of n rows, shape (n,)."""
        return self._scores(columns, None)

    def contributions_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """See :meth:`Scorer.contributions_columns`."""
        return self.explain_columns(columns)[1]

    def explain_columns(self, columns: Sequence[AnyColumn]) -> tuple[FloatArray, FloatArray]:
        """See :meth:`Scorer.explain_columns`."""
        contributions = np.empty((len(columns), len(columns[0]))).T  # those of one feature are contiguous
        return self._scores(columns, contributions), contributions

    def _scores(self, columns: Sequence[AnyColumn], contributions: FloatArray | None) -> FloatArray:
        """The scores of n rows. Each term that is looked up also gives its part of ``contributions``, if these are wanted."""
        indices = self._indices(columns)
        scores = np.full(len(indices[0]), self.intercept)
        for i, (table, k) in enumerate(zip(self.tables, indices, strict=True)):
            term = k.look_up(table)
            scores += term
            if contributions is not None:
                np.subtract(term, self.averages[i], out=contributions[:, i])
        for line, average in zip(self.lines, self._line_averages, strict=True):
            term = _line_terms(line, columns[line.feature])
            scores += term
            if contributions is not None:
                contributions[:, line.feature] += term - average
        for pair, average in zip(self.pairs, self._pair_averages, strict=True):
            term = _pair_terms(pair, indices)
            scores += term
            if contributions is not None:
                half = (term - average) * 0.5
                for feature in pair.features:
                    contributions[:, feature] += half
        return scores

    def _indices(self, columns: Sequence[AnyColumn]) -> list[Places]:
        return [bins.places(column) for bins, column in zip(self.bins, columns, strict=True)]

    # Storage

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header: bins, lines, pairs, intercept, averages. Arrays: ``cuts_i``, ``table_i``, ``pair_n`` and its two maps."""
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
            "lines": [[line.feature, line.slope, line.center] for line in self.lines],
            "pairs": [list(pair.features) for pair in self.pairs],
            "averages": list(self.averages),
        }
        return header, arrays

    @classmethod
    def from_parts(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema
    ) -> AdditiveScorer:
        """See :meth:`Scorer.from_parts`."""
        parts = Parts(header, arrays, schema)
        features = parts.entries("features", len(schema))
        if len(features) != len(schema):
            raise FormatError("scorer", "must have one table per feature")
        bins = [parts.bins(i, feature, features[i]) for i, feature in enumerate(schema)]
        tables = [parts.floats(f"table_{i}", (b.size,)) for i, b in enumerate(bins)]
        lines = [_read_line(parts, entry) for entry in parts.entries("lines", len(schema))]
        pairs = [_read_pair(parts, n, entry, bins) for n, entry in enumerate(parts.entries("pairs", MOST_PAIRS))]
        terms = len(tables) + len(lines) + len(pairs)
        averages = [parts.number(average) for average in parts.entries("averages", terms)]
        if len(averages) != terms:
            raise FormatError("scorer", "must have one average per term")
        parts.nothing_else()
        return cls(parts.number(header.get("intercept")), bins, tables, pairs, averages, lines)


def _line_terms(line: LinearTerm, column: AnyColumn) -> FloatArray:
    numbers = np.asarray(plain(column), dtype=np.float64)
    with np.errstate(over="ignore"):
        terms = np.minimum(np.maximum(line.slope * (numbers - line.center), -STEEPEST), STEEPEST)
    terms[np.isnan(numbers)] = 0.0
    return terms


def _pair_terms(pair: Pair, indices: Sequence[Places]) -> FloatArray:
    i, j = pair.features
    places = indices[i].look_up(pair.left * pair.table.shape[1])
    places += indices[j].look_up(pair.right)
    terms: FloatArray = pair.table.reshape(-1).take(places)
    return terms


def _read_line(parts: Parts, entry: object) -> LinearTerm:
    if not isinstance(entry, list) or len(entry) != 3:
        raise FormatError("scorer", "a line must be a feature, a slope and a centre")
    feature = parts.position(entry[0], len(parts.schema))
    if parts.schema.features[feature].kind != "number":
        raise FormatError("scorer", "a line must be of a number")
    line = LinearTerm(feature, parts.number(entry[1]), parts.number(entry[2]))
    if abs(line.center) > FARTHEST:
        raise FormatError("scorer", "a line's centre is too large")
    return line


def _read_pair(parts: Parts, n: int, entry: object, bins: Sequence[Bins]) -> Pair:
    if not isinstance(entry, list) or len(entry) != 2:
        raise FormatError("scorer", f"pair {n} must name two features")
    i, j = (parts.position(feature, len(bins)) for feature in entry)
    table = parts.floats(f"pair_{n}", (None, None))
    left = parts.indices(f"left_{n}", "<i8", (bins[i].size,), table.shape[0])
    right = parts.indices(f"right_{n}", "<i8", (bins[j].size,), table.shape[1])
    return Pair((i, j), left, right, table)
