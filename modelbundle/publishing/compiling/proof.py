"""The proof that a compiled scorer equals its pipeline: on the training frame and on adversarial rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle.publishing.compiling.adversaries import SEED, adversaries
from modelbundle.schema import Schema
from modelbundle.scorers.base import Column, FloatArray, Scorer, Value

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-12
CHUNK = 20_000
ROW_CHECKS = 2_000  # rows that are scored one by one too: the same bits as in columns


@dataclass(frozen=True, slots=True)
class Proof:
    """The number of compared rows, of adversarial rows among them, and the largest difference of a probability.

    ``thresholds`` is the number of values at which a number changes the score, ``thresholds_tried`` how many of them were tried
    (on, just below, just above). Where there are too many, ``seed`` draws a sample.
    """

    rows: int
    adversarial: int
    max_difference: float
    thresholds: int = 0
    thresholds_tried: int = 0
    seed: int = SEED


class ProofFailed(Exception):
    """The scorer does not equal the pipeline; the message says by how much they differ."""


def prove(pipeline: Any, scorer: Scorer, frame: pd.DataFrame, schema: Schema) -> Proof:
    """Compare ``scorer`` with ``pipeline.predict_proba`` row by row; raises :class:`ProofFailed`.

    A pipeline scorer is compared on the training frame only, which it builds again from plain values.
    """
    worst = _compare(pipeline, scorer, frame, schema)
    if scorer.kind == "pipeline":
        return Proof(len(frame), 0, worst)
    made = adversaries(scorer, frame, schema, lambda rows: _accepts(pipeline, rows))
    worst = max(worst, _compare(pipeline, scorer, made.rows, schema))
    _rows_are_columns(scorer, frame, schema)
    _rows_are_columns(scorer, made.rows, schema)
    rows = len(frame) + len(made.rows)
    return Proof(rows, len(made.rows), worst, made.thresholds, made.thresholds_tried)


def frame_columns(schema: Schema, frame: pd.DataFrame) -> list[Column]:
    """The columns of ``frame`` (n rows) as a scorer takes them."""
    return [
        frame[f.name].to_numpy(dtype=np.float64, na_value=np.nan)
        if f.kind == "number"
        else [value if isinstance(value, str) else None for value in frame[f.name]]
        for f in schema
    ]


def _accepts(pipeline: Any, rows: pd.DataFrame) -> bool:
    try:
        _ask(pipeline, rows)
    except ValueError:  # scikit-learn's word for "too large" and "missing"
        return False
    return True


def _ask(pipeline: Any, rows: pd.DataFrame) -> FloatArray:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of overflows and unknown categories, which the rows have on purpose
        return np.asarray(pipeline.predict_proba(rows), dtype=np.float64)


def _chunks(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(frame), CHUNK):
        yield frame.iloc[start : start + CHUNK]


def _compare(pipeline: Any, scorer: Scorer, frame: pd.DataFrame, schema: Schema) -> float:
    worst = 0.0
    for part in _chunks(frame):
        expected = _ask(pipeline, part)
        columns = frame_columns(schema, part)
        if scorer.kind == "pipeline":
            difference = np.abs(scorer.probability_matrix(columns) - expected)
        else:
            difference = np.abs(scorer.probabilities(scorer.score_columns(columns)) - expected[:, -1])
        if not bool((difference <= TOLERANCE).all()):
            raise ProofFailed(f"its probabilities differ by {np.max(difference):.3g}, more than {TOLERANCE:g}")
        worst = max(worst, float(difference.max()))
    return worst


def _rows_are_columns(scorer: Scorer, frame: pd.DataFrame, schema: Schema) -> None:
    step = max(1, len(frame) // ROW_CHECKS)
    columns = frame_columns(schema, frame.iloc[::step])
    together = scorer.score_columns(columns)
    terms = scorer.contributions_columns(columns) if scorer.has_contributions else None
    for i, expected in enumerate(together.tolist()):
        row = [_value(column[i]) for column in columns]
        if scorer.score_row(row) != expected:
            raise ProofFailed("a row by itself and among others gives different bits")
        if terms is not None and scorer.explain_row(row) != (expected, terms[i].tolist()):
            raise ProofFailed("a row's contributions by itself and among others are different bits")


def _value(value: Any) -> Value:
    if isinstance(value, str) or value is None:
        return value
    return None if value != value else float(value)
