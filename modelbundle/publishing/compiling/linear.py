"""Compiling logistic regression on encoded columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelbundle.publishing.compiling.encoding import Encoded, Labels, NotSupported, Number
from modelbundle.publishing.compiling.terms import Terms
from modelbundle.schema import Schema
from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.bins import NumberBins


def compile_logistic(model: Any, encoded: Sequence[Encoded], schema: Schema, klass: int = 0) -> AdditiveScorer:
    """The scorer with a line per number and a table per column of finitely many values; raises :class:`NotSupported`.

    It gives the log-odds of the last of two classes, or the raw score of the class at position ``klass``.
    """
    weights = np.asarray(model.coef_, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(encoded) or klass >= len(weights):
        raise NotSupported("the regression does not have one weight per column")
    terms = Terms(schema)
    terms.intercept = float(np.ravel(model.intercept_)[klass])
    for column, weight in zip(encoded, weights[klass].tolist(), strict=True):
        if isinstance(column, Labels):
            raise NotSupported("a category reaches the regression without having been encoded")
        if isinstance(column, Number):
            _add_line(terms, column, weight)
        else:
            terms.add_table(column.feature, column.bins, np.where(np.isnan(column.values), 0.0, weight * column.values))
    return terms.scorer()


def _add_line(terms: Terms, column: Number, weight: float) -> None:
    """Add ``weight`` times the column: a line of the raw number, and a table for the filled missing value."""
    scale, shift = 1.0, 0.0  # encoded = scale * raw + shift
    center = 0.0
    for operation, operand in column.chain:
        if operation == "subtract" and scale == 1.0 and shift == 0.0 and center == 0.0:
            center = operand  # separate, so that the difference is rounded as in the pipeline
        elif operation in ("subtract", "add"):
            shift += operand if operation == "add" else -operand
        elif operation in ("multiply", "divide"):
            factor = operand if operation == "multiply" else 1.0 / operand
            scale, shift = scale * factor, shift * factor
        elif operation != "fill":
            raise NotSupported("a clipped number is not a line")
    missing = float(column.at(np.array([np.nan]))[0])
    terms.add_line(column.feature, weight * scale, center)
    terms.intercept += weight * shift
    at_missing = 0.0 if missing != missing else weight * missing - weight * shift
    terms.add_table(column.feature, NumberBins(np.empty(0)), np.array([0.0, at_missing]))
