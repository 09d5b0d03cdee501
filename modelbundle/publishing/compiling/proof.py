"""The proof that a compiled scorer equals its pipeline: on the training frame and on adversarial rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.format.decision import ARGMAX, Decision
from modelbundle.publishing.compiling.adversaries import SEED, adversaries
from modelbundle.schema import Schema, numbers
from modelbundle.scorers.base import Column, FloatArray, Scorer, Value
from modelbundle.scorers.inputs import Inputs

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-12
SINGLE = 2e-6  # for a pipeline that computes its probabilities in float32, as XGBoost does
CHUNK = 20_000
NEAR = 1e-9  # of a probability to the threshold, or of two probabilities: rounding decides which class is predicted
FEW_CHECKS = 300  # of a scorer that combines others
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


class DecisionDiffers(ProofFailed):
    """The probabilities are equal, and the predicted classes are not."""


def prove(pipeline: Any, scorer: Scorer, frame: pd.DataFrame, inputs: Inputs, decision: Decision = ARGMAX) -> Proof:
    """Compare ``scorer`` with the pipeline's ``predict_proba``, and ``decision`` with its ``predict``, row by row.

    A pipeline scorer is compared on the training frame only, which it builds again from plain values. Raises
    :class:`ProofFailed`, and whatever the pipeline raises for its own training frame.
    """
    schema = inputs.schema
    background = frame_columns(schema, frame)
    worst = 0.0
    for start in range(0, len(frame), CHUNK):
        part = [column[start : start + CHUNK] for column in background]
        worst = max(worst, _compare(pipeline, scorer, decision, inputs.original(frame[start : start + CHUNK]), part))
    if scorer.kind == "pipeline":
        return Proof(len(frame), 0, worst)
    made = adversaries(scorer, background, schema, lambda columns: _accepts(pipeline, inputs.frame(columns)))
    rows = len(made.columns[0])
    for start in range(0, rows, CHUNK):
        part = [column[start : start + CHUNK] for column in made.columns]
        worst = max(worst, _compare(pipeline, scorer, decision, inputs.frame(part), part))
    _rows_are_columns(scorer, background, len(frame))
    _rows_are_columns(scorer, made.columns, rows)
    return Proof(len(frame) + rows, rows, worst, made.thresholds, made.thresholds_tried)


def frame_columns(schema: Schema, frame: pd.DataFrame) -> list[Column]:
    """The columns of ``frame`` (n rows) as a scorer takes them."""
    columns: list[Column] = []
    for f in schema:
        values = numbers(frame[f.name]) if f.kind == "number" else None
        columns.append(
            values if values is not None else [value if isinstance(value, str) else None for value in frame[f.name]]
        )
    return columns


def _accepts(pipeline: Any, x: Any) -> bool:
    try:
        return bool(np.isfinite(_ask(pipeline, x)).all())
    except Exception:  # "too large", "missing", or whatever a step of the pipeline says
        return False


def _ask(pipeline: Any, x: Any, what: str = "predict_proba") -> NDArray[Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of overflows and unknown categories, which the rows have on purpose
        return np.asarray(getattr(pipeline, what)(x))


def _compare(pipeline: Any, scorer: Scorer, decision: Decision, x: Any, columns: Sequence[Column]) -> float:
    said = _ask(pipeline, x)
    tolerance = SINGLE if said.dtype == np.float32 else TOLERANCE
    expected = said.astype(np.float64)
    matrix = scorer.probability_matrix(columns)
    if matrix.shape != expected.shape:
        raise ProofFailed("it gives the probabilities of another number of classes")
    difference = np.abs(matrix - expected)
    if not bool((difference <= tolerance).all()):
        raise ProofFailed(f"its probabilities differ by {np.max(difference):.3g}, more than {tolerance:g}")
    if not decision.by_predict and hasattr(pipeline, "predict"):
        predicted = np.asarray(_ask(pipeline, x, "predict")).reshape(len(matrix))
        wrong = np.asarray(pipeline.classes_)[decision.positions(matrix)] != predicted
        if bool((wrong & ~_undecided(matrix, decision, max(NEAR, tolerance))).any()):
            raise DecisionDiffers("its prediction is not what the pipeline's predict says")
    return float(difference.max())


def _undecided(matrix: FloatArray, decision: Decision, near_enough: float) -> NDArray[np.bool_]:
    """Rows in which a difference of rounding decides, shape (n,)."""
    if decision.threshold is not None:
        near: NDArray[np.bool_] = np.abs(matrix[:, decision.of] - decision.threshold) <= near_enough
        return near
    first, second = np.sort(matrix, axis=1)[:, [-1, -2]].T
    tied: NDArray[np.bool_] = first - second <= near_enough
    return tied


def _rows_are_columns(scorer: Scorer, every: Sequence[Column], rows: int) -> None:
    step = max(1, rows // (FEW_CHECKS if scorer.kind == "combined" else ROW_CHECKS))
    columns = [column[::step] for column in every]
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
