"""Validation of whole columns by the rules of :mod:`modelbundle.validation.rules`: invalid rows, and unseen values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import LARGEST, Feature, Schema
from modelbundle.scorers.base import AnyColumn, Coded
from modelbundle.validation.problems import escape
from modelbundle.validation.rules import expectation, is_reference, unseen_warning
from modelbundle.validation.validator import Many

Mask = NDArray[np.bool_]


def misfits(feature: Feature, column: AnyColumn) -> Mask | None:
    """The rows with an invalid value (impossible, or missing but required), shape (n,); None where there are none."""
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
    """The rows with a value that training has not seen, shape (n,); None where there are none."""
    if isinstance(column, Coded):
        return _spread(unseen(feature, column.values), column)
    if isinstance(column, np.ndarray):
        low, high = feature.observed or (-LARGEST, LARGEST)
        found = (column < low) | (column > high)
    elif not feature.categories:
        return None  # without known categories, none is unseen
    else:
        known = {None, *feature.categories}
        found = np.array([value not in known for value in column], dtype=bool)
    return found if found.any() else None


def many(schema: Schema, columns: Sequence[AnyColumn], ids: Sequence[str | None] | None) -> Many | None:
    """A valid request for n rows, one column per feature, with its warnings; None where a value or an id does not fit."""
    asked = Many(len(columns[0]), list(columns), None if ids is None else list(ids))
    for feature, column in zip(schema, columns, strict=True):
        wrong = misfits(feature, column)
        if wrong is not None and wrong.any():
            return None
        strange = unseen(feature, column)
        if strange is not None:
            name, detail = escape(feature.name), unseen_warning(feature)
            for i in np.flatnonzero(strange).tolist():
                asked.warnings.setdefault(i, []).append({"pointer": f"/{name}/{i}", "detail": detail})
    if ids is not None and not all(own is None or is_reference(own) for own in ids):
        return None
    return asked


def _spread(mask: Mask | None, column: Coded) -> Mask | None:
    return None if mask is None else mask.take(column.codes)


def warnings(schema: Schema, columns: Sequence[AnyColumn]) -> tuple[NDArray[np.intp], list[str]]:
    """The warnings of n rows as positions among distinct texts, shape (n,), and the texts.

    A text is "feature: detail", joined by " | " where a row has several warnings. The first text is empty.
    """
    masks = {f: mask for f, c in zip(schema, columns, strict=True) if (mask := unseen(f, c)) is not None}
    said = np.zeros(len(columns[0]), dtype=np.intp)
    if not masks:
        return said, [""]
    together = np.packbits(np.column_stack(list(masks.values())), axis=1)
    warned = np.flatnonzero(together.any(axis=1))
    if not len(warned):  # no row has the unseen value any more
        return said, [""]
    rows = np.ascontiguousarray(together[warned])
    distinct, said[warned] = np.unique(rows.view(f"V{rows.shape[1]}").reshape(-1), return_inverse=True)
    said[warned] += 1
    bits = np.unpackbits(distinct.view(np.uint8).reshape(len(distinct), -1), axis=1)
    parts = [f"{feature.name}: {unseen_warning(feature)}" for feature in masks]
    return said, ["", *(" | ".join(p for p, bit in zip(parts, row, strict=False) if bit) for row in bits.tolist())]
