"""Golden rows: synthetic inputs, made from the schema, whose scores a replica must reproduce before it uses a model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelbundle.errors import GoldenMismatch
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.base import Column, Value

if TYPE_CHECKING:
    from modelbundle.model import Model

ROWS = 64
MOST_VALUES = 20_000  # of all rows, so that the manifest of a wide model stays small
UNSEEN = "(unseen)"


def make(schema: Schema, rows: int = ROWS) -> list[tuple[Value, ...]]:
    """Synthetic rows, the same for the same schema: extremes, other values, unseen categories and missing values.

    There are ``rows`` of them, or fewer in a schema of more than 300 features.
    """
    rng = random.Random(20)
    rows = min(rows, max(8, MOST_VALUES // len(schema)))
    return [tuple(_value(feature, rng, position) for feature in schema) for position in range(rows)]


def _value(feature: Feature, rng: random.Random, position: int) -> Value:
    if not feature.required and rng.random() < 0.15:
        return None
    if feature.kind == "category":
        unseen = rng.random() < 0.05 or not feature.categories
        return UNSEEN if unseen and not feature.closed else rng.choice(feature.categories or (UNSEEN,))
    low, high = feature.observed or (0.0, 1.0)
    if position < 2:
        return (low, high)[position]
    value = low + (high - low) * rng.random() ** rng.choice((1, 2, 4))
    return float(round(value)) if feature.integer else float(f"{value:.6g}")


def columns(schema: Schema, rows: Sequence[Sequence[Value]]) -> list[Column]:
    """n rows as columns: float64 with NaN for missing, shape (n,), or a list of n str or None."""
    result: list[Column] = []
    for i, feature in enumerate(schema):
        values = [row[i] for row in rows]
        if feature.kind == "number":
            result.append(np.array([np.nan if v is None else v for v in values], dtype=np.float64))
        else:
            result.append([None if v is None else str(v) for v in values])
    return result


def check(model: Model) -> None:
    """Raise :class:`GoldenMismatch` unless ``model`` reproduces its golden scores, row by row and in columns.

    A compiled scorer must give the same bits. A scikit-learn pipeline may differ by 1e-9, because its libraries compute
    differently in different builds.
    """
    golden = model.manifest.golden
    tolerance = 1e-9 if model.scorer.kind == "pipeline" else 0.0
    together = model.scorer.score_columns(columns(model.schema, golden.rows)).tolist()
    for position, (row, expected) in enumerate(zip(golden.rows, golden.scores, strict=True)):
        for found in (model.scorer.score_row(row), together[position]):
            if not abs(found - expected) <= tolerance:
                raise GoldenMismatch(position, expected, found)
