"""The exact effect of each feature in an additive model: a curve per feature, and a surface per pair of features.

Terms are in log-odds relative to the average row, as contributions are (:mod:`modelbundle.scorers.base`). The contribution of
a feature is the term of its curve plus half of the term of each surface that it is part of.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.explain.distribution import Density, Range, density, missing_share, shares, shown
from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import Column, Value
from modelbundle.scorers.bins import NumberBins

MARGIN = 0.05  # share of the span of the cuts, shown on both sides
EVEN = 60  # evenly spaced values of a number without a curve


@dataclass(frozen=True, slots=True)
class NumberCurve:
    """The term of a number. Step i is from ``edges[i]`` up to, but not including, ``edges[i + 1]``.

    The outer edges limit the shown range; the outer steps continue beyond. ``starts`` and ``ends`` (k) are the terms at both
    ends of each step, different where the term has a line. ``missing``: the term of a missing value. ``size``: the mean absolute
    term over the training rows, which it spreads evenly within each bin of the reference; None without a reference.
    """

    feature: str
    edges: tuple[float, ...]
    starts: tuple[float, ...]
    ends: tuple[float, ...]
    missing: float
    density: Density | None
    size: float | None

    def at(self, value: float | None) -> float:
        """The term of a value, in log-odds."""
        if value is None:
            return self.missing
        i = min(max(bisect_right(self.edges, value) - 1, 0), len(self.starts) - 1)
        start, end = self.starts[i], self.ends[i]
        if start == end:
            return start
        return start + (end - start) * (value - self.edges[i]) / (self.edges[i + 1] - self.edges[i])

    def to_json(self) -> dict[str, Any]:
        """The curve as a JSON object, for the pages."""
        return {
            "kind": "number",
            "feature": self.feature,
            "edges": self.edges,
            "starts": self.starts,
            "ends": self.ends,
            "missing": self.missing,
            "density": None if self.density is None else self.density.to_json(),
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class CategoryCurve:
    """The terms of a category's ``names`` (k), in the order of the schema; ``shares`` (k) of the training rows, or None.

    ``missing`` and ``unknown``: the terms of a missing and of an unknown value. ``size``: see :class:`NumberCurve`.
    """

    feature: str
    names: tuple[str, ...]
    terms: tuple[float, ...]
    missing: float
    unknown: float
    shares: tuple[float, ...] | None
    size: float | None

    def to_json(self) -> dict[str, Any]:
        """The curve as a JSON object, for the pages."""
        return {
            "kind": "category",
            "feature": self.feature,
            "names": self.names,
            "terms": self.terms,
            "missing": self.missing,
            "unknown": self.unknown,
            "shares": self.shares,
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of a surface: ``edges`` (k + 1) of the k steps of a number, or the ``names`` (k) of a category."""

    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surface:
    """The term of a pair of features: ``terms[i, j]`` for step i of ``rows`` (first feature) and step j of ``columns``."""

    features: tuple[str, str]
    rows: Axis
    columns: Axis
    terms: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curves:
    """A curve per feature in the schema's order, and a surface per pair; both empty for a model that is not additive."""

    curves: tuple[NumberCurve | CategoryCurve, ...] = ()
    surfaces: tuple[Surface, ...] = ()


def curves(model: Model, reference: Mapping[str, Any]) -> Curves:
    """The curves and surfaces of a model. ``reference`` is the bundle's ``reference.json``, or empty."""
    scorer = model.scorer
    if not isinstance(scorer, AdditiveScorer):
        return Curves()
    found = tuple(
        _number(scorer, i, feature, described) if feature.kind == "number" else _category(scorer, i, feature, described)
        for i, feature in enumerate(model.schema)
        for described in [_described(reference, feature)]
    )
    return Curves(found, tuple(_surfaces(scorer, model, found)))


def what_if(model: Model, row: Sequence[Value], feature: str, values: Sequence[Value]) -> list[float]:
    """The probabilities of the last class for a validated ``row`` with ``feature`` set to each of ``values``.

    They are the model's own answers, so they are exact for every kind of scorer; NaN where the model gives none.
    """
    columns: list[Column] = []
    for f, value in zip(model.schema, row, strict=True):
        cells = list(values) if f.name == feature else [value] * len(values)
        columns.append(np.array([np.nan if v is None else v for v in cells], float) if f.kind == "number" else cells)  # type: ignore[arg-type]
    found: list[float] = model.last_class(columns).tolist()
    return found


def steps(feature: Feature, curve: NumberCurve | CategoryCurve | None, reference: Mapping[str, Any]) -> list[Value]:
    """The values of a feature for a what-if chart: its categories, both ends of each step of its curve, or evenly spaced ones."""
    if feature.kind == "category":
        return list(feature.categories)
    if isinstance(curve, NumberCurve):
        inside = [end for edge in curve.edges[1:-1] for end in (float(np.nextafter(edge, -np.inf)), edge)]
        return [curve.edges[0], *inside, curve.edges[-1]]
    low, high = shown(feature, _described(reference, feature), None)
    even = np.linspace(low, high, EVEN)
    found: list[Value] = list(dict.fromkeys((np.round(even) if feature.integer else even).tolist()))
    return found if len(found) > 1 else [low, *found, high]


def in_order(names: Sequence[str]) -> list[str]:
    """Categories by the number in each ("< 1 year", "1 year", "10+ years"), if all have one; else in the given order."""
    numbers = [re.search(r"\d+(?:\.\d+)?", name) for name in names]
    if not all(numbers):
        return list(names)
    keyed = [
        (float(n[0]), not name.lstrip().startswith(("<", "≤")), name)
        for n, name in zip(numbers, names, strict=True)
        if n
    ]
    return [name for *_, name in sorted(keyed)]


def _described(reference: Mapping[str, Any], feature: Feature) -> Mapping[str, Any]:
    described = reference.get("features", {}).get(feature.name, {})
    return described if isinstance(described, dict) else {}


def _number(scorer: AdditiveScorer, i: int, feature: Feature, described: Mapping[str, Any]) -> NumberCurve:
    bins = scorer.bins[i]
    assert isinstance(bins, NumberBins)
    low, high = shown(feature, described, _around(bins.cuts))
    inside = bins.cuts[(bins.cuts > low) & (bins.cuts < high)]
    edges = np.concatenate([[low], inside, [high]])
    starts = scorer.own_terms(i, edges[:-1])
    ends = scorer.own_terms(i, np.nextafter(edges[1:], -np.inf))
    missing = float(scorer.own_terms(i, np.array([np.nan]))[0])
    spread = density(feature, described, (low, high))
    size = None
    if spread is not None:
        absent = missing_share(described)
        size = (1 - absent) * _mean_size(edges, (starts + ends) / 2, spread) + absent * abs(missing)
    return NumberCurve(
        feature.name,
        tuple(edges.tolist()),
        tuple(starts.tolist()),
        tuple(ends.tolist()),
        missing,
        spread,
        size,
    )


def _around(cuts: NDArray[np.float64]) -> Range | None:
    if len(cuts) == 0:
        return None
    margin = MARGIN * float(cuts[-1] - cuts[0])
    return float(cuts[0]) - margin, float(cuts[-1]) + margin


def _mean_size(edges: NDArray[np.float64], terms: NDArray[np.float64], spread: Density) -> float:
    below = np.concatenate([[0.0], np.cumsum(spread.shares)])  # the share of rows below each edge of the density
    at = np.interp(edges, spread.edges, below)
    return float(np.abs(terms) @ np.diff(at))


def _category(scorer: AdditiveScorer, i: int, feature: Feature, described: Mapping[str, Any]) -> CategoryCurve:
    names = feature.categories or scorer.labels(i)
    *terms, missing, unknown = scorer.own_terms(i, [*names, None, "\0"]).tolist()
    counted = shares(described, names)
    size = None
    if counted is not None:
        size = float(np.abs(terms) @ np.array(counted)) + missing_share(described) * abs(missing)
    return CategoryCurve(feature.name, names, tuple(terms), missing, unknown, counted, size)


def _surfaces(scorer: AdditiveScorer, model: Model, found: Sequence[NumberCurve | CategoryCurve]) -> list[Surface]:
    surfaces = []
    for n, pair in enumerate(scorer.pairs):
        i, j = pair.features
        rows, left = _axis(found[i], scorer, i, pair.left)
        columns, right = _axis(found[j], scorer, j, pair.right)
        names = (model.schema.names[i], model.schema.names[j])
        surfaces.append(Surface(names, rows, columns, scorer.pair_terms(n)[np.ix_(left, right)]))
    return surfaces


def _axis(
    curve: NumberCurve | CategoryCurve, scorer: AdditiveScorer, i: int, places: NDArray[np.int64]
) -> tuple[Axis, NDArray[np.int64]]:
    """One side of a surface, and the position of each step in the pair's table; steps with one position are merged."""
    bins = scorer.bins[i]
    if isinstance(curve, CategoryCurve):
        return Axis(names=curve.names), places[bins.indices(list(curve.names))]
    at = places[bins.indices(np.array(curve.edges[:-1]))]
    new = [0, *(k for k, (a, b) in enumerate(pairwise(at.tolist()), 1) if a != b)]
    return Axis(edges=(*(curve.edges[k] for k in new), curve.edges[-1])), at[new]
