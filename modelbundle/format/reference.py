"""``reference.json``: the distributions of the features and the probability in training, to measure drift against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.format.values import is_count, is_number, loads
from modelbundle.schema import Schema
from modelbundle.scorers.base import Column

NAME = "reference.json"
BINS = 10
MOST_BINS = 1000


def describe(schema: Schema, columns: Sequence[Column], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    """The reference of n training rows as ``columns`` and their ``probabilities`` (n,).

    It has decile edges and counts of numbers, and counts of categories. ``other`` counts the categories that the schema does not
    name, those with fewer than :data:`modelbundle.schema.RARE` rows.
    """
    features: dict[str, Any] = {}
    for feature, column in zip(schema, columns, strict=True):
        if isinstance(column, np.ndarray):
            present = column[~np.isnan(column)]
            features[feature.name] = {**bins(present), "missing": len(column) - len(present)}
            continue
        counts = Counter(column)
        missing = counts.pop(None, 0)
        named = {category: counts[category] for category in feature.categories}
        other = counts.total() - sum(named.values())
        features[feature.name] = {"categories": named, "other": other, "missing": missing}
    return {"rows": len(probabilities), "features": features, "probability": bins(probabilities)}


def parse(raw: bytes, schema: Schema) -> dict[str, Any]:
    """``reference.json`` of a bundle; raises :class:`FormatError` unless :func:`describe` could have made it."""
    data = loads(NAME, raw)
    features = data.get("features")
    if not isinstance(features, dict) or not set(features) <= set(schema.names):
        raise FormatError(NAME, "must describe features of the schema")
    for name, entry in features.items():
        number = schema.features[schema.index[name]].kind == "number"
        if not isinstance(entry, dict) or not is_count(entry.get("missing")):
            raise FormatError(NAME, f"{name} must have the number of missing values")
        if not (_are_bins(entry) if number else _are_counts(entry)):
            raise FormatError(NAME, f"{name} has counts that do not match its kind")
    if not is_count(data.get("rows")) or not _are_bins(data.get("probability")):
        raise FormatError(NAME, "must have rows and probability")
    if not all(0 <= edge <= 1 for edge in data["probability"]["edges"]):
        raise FormatError(NAME, "has an edge that is not a probability")
    return data


def _are_bins(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    edges, counts = entry.get("edges"), entry.get("counts")
    if not isinstance(edges, list) or not isinstance(counts, list) or not len(edges) + 1 == len(counts) <= MOST_BINS:
        return False
    numbers = all(map(is_number, edges))
    return numbers and all(a < b for a, b in pairwise(edges)) and all(map(is_count, counts))


def _are_counts(entry: dict[str, Any]) -> bool:
    categories = entry.get("categories")
    return isinstance(categories, dict) and all(map(is_count, categories.values())) and is_count(entry.get("other"))


def bins(values: NDArray[np.float64]) -> dict[str, Any]:
    """Interior decile edges (distinct, ascending) and the number of values in each bin; a bin includes its upper edge."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
