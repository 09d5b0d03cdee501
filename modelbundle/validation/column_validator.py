"""Validation of whole columns: which rows fit, and what training has not seen, by the rules of
:mod:`modelbundle.validation.validator`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import LARGEST, Feature, Schema
from modelbundle.scorers.base import AnyColumn, Coded
from modelbundle.validation.validator import expectation, unseen_words

Mask = NDArray[np.bool_]


def misfits(feature: Feature, column: AnyColumn) -> Mask | None:
    """The rows whose value is missing but required, or impossible; None where there are none."""
    if isinstance(column, Coded):
        return _spread(misfits(feature, column.values), column)
    if isinstance(column, np.ndarray):
        low = -LARGEST if feature.minimum is None else feature.minimum
        high = LARGEST if feature.maximum is None else feature.maximum
        wrong = ~((column >= low) & (column <= high))
        if not feature.required:
            wrong &= ~np.isnan(column)
    else:
        wrong = np.array([expectation(feature, value) is not None for value in column], dtype=bool)
    return wrong if wrong.any() else None


def unseen(feature: Feature, column: AnyColumn) -> Mask | None:
    """The rows whose value training has not seen; None where there are none."""
    if isinstance(column, Coded):
        return _spread(unseen(feature, column.values), column)
    if isinstance(column, np.ndarray):
        low, high = feature.observed or (-LARGEST, LARGEST)
        found = (column < low) | (column > high)
    elif not feature.categories:
        return None  # none are known: nothing is unseen
    else:
        known = {None, *feature.categories}
        found = np.array([value not in known for value in column], dtype=bool)
    return found if found.any() else None


def _spread(mask: Mask | None, column: Coded) -> Mask | None:
    return None if mask is None else mask.take(column.codes)


def warnings(schema: Schema, columns: Sequence[AnyColumn]) -> tuple[NDArray[np.intp], list[str]]:
    """What is to be said of each row: positions among distinct texts ("feature: detail", joined by " | "); the first is empty."""
    masks = {f: mask for f, c in zip(schema, columns, strict=True) if (mask := unseen(f, c)) is not None}
    said = np.zeros(len(columns[0]), dtype=np.intp)
    if not masks:
        return said, [""]
    together = np.packbits(np.column_stack(list(masks.values())), axis=1)
    warned = np.flatnonzero(together.any(axis=1))
    if not len(warned):  # the value was that of rows that are no longer there
        return said, [""]
    rows = np.ascontiguousarray(together[warned])
    distinct, said[warned] = np.unique(rows.view(f"V{rows.shape[1]}").reshape(-1), return_inverse=True)
    said[warned] += 1
    bits = np.unpackbits(distinct.view(np.uint8).reshape(len(distinct), -1), axis=1)
    parts = [f"{feature.name}: {unseen_words(feature)}" for feature in masks]
    return said, ["", *(" | ".join(p for p, bit in zip(parts, row, strict=False) if bit) for row in bits.tolist())]
