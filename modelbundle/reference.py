"""``reference.json``: how the features and the score were distributed at training time, for drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

BINS = 10


def describe(schema: Schema, frame: pd.DataFrame, probabilities: NDArray[np.float64]) -> dict[str, Any]:
    """Decile edges and counts per number, counts per named category, missing counts; the same for the probability.

    Categories that the schema does not name (fewer than :data:`modelbundle.schema.RARE` rows) are counted together as
    ``other``.
    """
    features: dict[str, Any] = {}
    for feature in schema:
        column = frame[feature.name]
        missing = int(column.isna().sum())
        if feature.kind == "number":
            features[feature.name] = {**bins(column.dropna().to_numpy(float)), "missing": missing}
            continue
        counts = column.dropna().astype(str).value_counts()
        named = {category: int(counts[category]) for category in feature.categories}
        other = int(counts.sum()) - sum(named.values())
        features[feature.name] = {"categories": named, "other": other, "missing": missing}
    return {"rows": len(frame), "features": features, "probability": bins(probabilities)}


def bins(values: NDArray[np.float64]) -> dict[str, Any]:
    """Interior decile edges (distinct, ascending) and the number of values in each bin; a bin includes its upper edge."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
