"""The distribution of a feature in training, from ``reference.json``, and the range of values to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from modelbundle.schema import Feature

Range = tuple[float, float]
WIDEST = 8e307  # so that the width of a range is finite
NARROWEST = 0.04  # share of the shown range; a narrower bin is merged with its neighbour


@dataclass(frozen=True, slots=True)
class Density:
    """``shares`` (m) of the training rows between ``edges`` (m + 1). The outer bins include rows beyond the shown range."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    def heights(self) -> tuple[float, ...]:
        """Rows per unit of the value, relative to the highest bin, shape (m,)."""
        rates = [
            share / (b - a) if a < b else 0.0 for share, (a, b) in zip(self.shares, pairwise(self.edges), strict=True)
        ]
        highest = max(rates) or 1.0
        return tuple(rate / highest for rate in rates)

    def to_json(self) -> dict[str, Any]:
        """The density as a JSON object, for the pages."""
        return {"edges": self.edges, "shares": self.shares, "heights": self.heights()}


def shown(feature: Feature, described: Mapping[str, Any], cuts: Range | None) -> Range:
    """The range of a number to show: the observed range without far tails in which the term is constant.

    ``described``: the feature's entry in ``reference.json``, or empty. ``cuts``: the range in which the model's term changes.
    """
    edges = _edges(described)
    ranges = [cuts] if cuts else []
    if edges:
        width = edges[-1] - edges[0]
        ranges.append((edges[0] - width, edges[-1] + width))
    low, high = feature.observed or (-float("inf"), float("inf"))
    if ranges:
        low, high = max(low, min(r[0] for r in ranges)), min(high, max(r[1] for r in ranges))
    if not -float("inf") < low < high < float("inf"):
        middle = next((x for x in (low, high) if abs(x) < float("inf")), 0.0)
        around = max(0.5, abs(middle) / 100)
        return max(middle - around, -WIDEST), min(middle + around, WIDEST)
    return max(low, -WIDEST), min(high, WIDEST)


def density(feature: Feature, described: Mapping[str, Any], within: Range) -> Density | None:
    """The density over the shown range; None without counts in the reference.

    A bin of the reference includes its upper edge. Where all values are whole numbers, the shown bin ends half a unit later.
    """
    counts, inner = described.get("counts"), _edges(described)
    if not isinstance(counts, list) or len(counts) != len(inner) + 1 or sum(counts) <= 0:
        return None
    low, high = within
    total = sum(counts)
    narrowest = NARROWEST * (high - low)
    ends = [edge + 0.5 * feature.integer for edge in inner]
    edges, shares_ = [low], [0.0]
    for end, count in zip([*ends, high], counts, strict=True):
        shares_[-1] += count / total
        if end > edges[-1] + narrowest and end < high - narrowest:
            edges.append(end)
            shares_.append(0.0)
    return Density((*edges, high), tuple(shares_))


def shares(described: Mapping[str, Any], names: Sequence[str]) -> tuple[float, ...] | None:
    """The share of the training rows in each of ``names``, shape (n,); None without counts in the reference."""
    counts = described.get("categories")
    if not isinstance(counts, dict):
        return None
    total = sum(counts.values()) + described.get("other", 0) + described.get("missing", 0)
    return tuple(counts.get(name, 0) / total for name in names) if total else None


def missing_share(described: Mapping[str, Any]) -> float:
    """The share of the training rows in which the feature is missing; 0 without counts in the reference."""
    counts = described.get("counts") or described.get("categories", {}).values()
    missing = described.get("missing", 0)
    total = sum(counts) + described.get("other", 0) + missing
    return float(missing / total) if total else 0.0


def _edges(described: Mapping[str, Any]) -> list[float]:
    edges = described.get("edges")
    return edges if isinstance(edges, list) else []
