"""The largest contributions of many rows are those of each row, also where they are equal or differ in their last bits."""

from __future__ import annotations

import numpy as np
import pytest

from modelbundle.explain.reasons import BETWEEN, Reasons
from modelbundle.publishing.annotations import FeatureWords
from modelbundle.schema import Feature, Schema

FEATURES = 9
SCHEMA = Schema(tuple(Feature(f"f{k}", "number", required=False) for k in range(FEATURES)))
WORDS = {"f3": FeatureWords(disclosable=False)}


def contributions(kind: str, rows: int) -> np.ndarray:
    """Random, with many ties, or with numbers that differ in one to three units of the last place."""
    rng = np.random.default_rng(5)
    if kind == "random":
        return rng.normal(0, 0.1, (rows, FEATURES))
    found = rng.integers(-2, 4, (rows, FEATURES)) / 10
    if kind == "near":
        for _ in range(3):
            found = np.where(rng.random(found.shape) < 0.5, np.nextafter(found, 9), found)
    return found


@pytest.mark.parametrize("kind", ["random", "ties", "near"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_many_rows_have_the_reasons_of_each(kind: str, order: str) -> None:
    """Sentences and contributions, bit for bit and in order; equal ones in the order of the schema."""
    rows = 9000  # more than are sorted at a time
    reasons = Reasons.from_words(SCHEMA, WORDS, dict.fromkeys(SCHEMA.names, 0.5))
    rng = np.random.default_rng(6)
    columns = [np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows)) for _ in range(FEATURES)]
    terms = np.asarray(contributions(kind, rows), order=order)  # type: ignore[call-overload]
    found = reasons.select_columns(columns, terms, np.arange(rows), rows).objects()
    told = [reasons.told(key) for key in reasons.keys(columns, terms).tolist()]
    values = [[None if np.isnan(v) else v for v in row] for row in np.column_stack(columns).tolist()]
    for i, (row, own) in enumerate(zip(values, terms.tolist(), strict=True)):
        expected = reasons.select(row, own)
        assert found[i] == expected
        assert told[i] == BETWEEN.join(reason["text"] for reason in expected)
