"""The proof that a compiled scorer is the pipeline: on the whole training frame and on rows made to find a difference."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle.schema import Feature, Schema
from modelbundle.scorers.additive import AdditiveScorer, NumberBins
from modelbundle.scorers.base import Column, FloatArray, Scorer, Value

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-12
CHUNK = 20_000
ROW_CHECKS = 2_000  # rows that are scored one by one too: the same bits as in columns
MOST_VALUES = 4_000  # adversarial values per feature
EXTREMES = (0.0, -0.0, 5e-324, -5e-324, 1e-300, 1.0, -1.0, 1e15, -1e15, 1e30, -1e30)
UNSEEN = ("", " ", "(unseen)", "nan", "None", "UNSEEN")


@dataclass(frozen=True, slots=True)
class Proof:
    """Rows compared, how many of them were made adversarially, and the largest difference of a probability."""

    rows: int
    adversarial: int
    max_difference: float


class ProofFailed(Exception):
    """The scorer is not the pipeline; the message says how far apart they are."""


def prove(pipeline: Any, scorer: Scorer, frame: pd.DataFrame, schema: Schema) -> Proof:
    """Compare ``scorer`` with ``pipeline.predict_proba`` row by row; raises :class:`ProofFailed`."""
    if scorer.kind == "pipeline":
        return Proof(0, 0, 0.0)
    made = adversarial(scorer, frame, schema)
    worst = 0.0
    for part in (frame, made):
        for start in range(0, len(part), CHUNK):
            worst = max(worst, _compare(pipeline, scorer, part.iloc[start : start + CHUNK], schema))
    _rows_are_columns(scorer, frame, schema)
    _rows_are_columns(scorer, made, schema)
    return Proof(len(frame) + len(made), len(made), worst)


def _compare(pipeline: Any, scorer: Scorer, part: pd.DataFrame, schema: Schema) -> float:
    expected: FloatArray = np.asarray(pipeline.predict_proba(part), dtype=np.float64)[:, -1]
    found = scorer.probabilities(scorer.score_columns(_columns(schema, part)))
    difference = np.abs(found - expected)
    worst = float(difference.max())
    if not worst <= TOLERANCE:
        raise ProofFailed(f"its probabilities differ by {worst:.3g}, more than {TOLERANCE:g}")
    return worst


def _rows_are_columns(scorer: Scorer, part: pd.DataFrame, schema: Schema) -> None:
    step = max(1, len(part) // ROW_CHECKS)
    columns = _columns(schema, part.iloc[::step])
    together = scorer.score_columns(columns)
    terms = scorer.contributions_columns(columns) if scorer.has_contributions else None
    for i, expected in enumerate(together.tolist()):
        row = [_value(column[i]) for column in columns]
        if scorer.score_row(row) != expected:
            raise ProofFailed("a row by itself and among others gives different bits")
        if terms is not None and scorer.explain_row(row) != (expected, terms[i].tolist()):
            raise ProofFailed("a row's contributions by itself and among others are different bits")


def adversarial(scorer: Scorer, frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Rows on, just below and just above every threshold, with missing, unseen and extreme values, one feature at a time
    against a background of training rows; and rows in which every feature is such a value (seed 0)."""
    import pandas as pd

    rng = random.Random(0)
    values = [list(_values(scorer, i, feature, rng)) for i, feature in enumerate(schema)]
    background = frame.iloc[[rng.randrange(len(frame)) for _ in range(sum(map(len, values)))]].reset_index(drop=True)
    columns: dict[str, list[Any]] = {name: background[name].tolist() for name in schema.names}
    at = 0
    for feature, odd in zip(schema, values, strict=True):
        for value in odd:
            columns[feature.name][at] = value
            at += 1
    for _ in range(2_000):
        for feature, odd in zip(schema, values, strict=True):
            columns[feature.name].append(rng.choice(odd))
    made = {
        name: pd.Series(column).astype(frame[name].dtype) for name, column in columns.items() if _text(schema, name)
    }
    return pd.DataFrame(
        {
            n: made[n] if n in made else np.array([np.nan if v is None else v for v in c], float)
            for n, c in columns.items()
        }
    )


def _text(schema: Schema, name: str) -> bool:
    return schema.features[schema.index[name]].kind == "category"


def _values(scorer: Scorer, i: int, feature: Feature, rng: random.Random) -> Iterator[Value]:
    if not feature.required:
        yield None
    if feature.kind == "category":
        known = list(feature.categories)
        if isinstance(scorer, AdditiveScorer):
            known += [label for label in scorer.bins[i].labels if label not in known]  # type: ignore[union-attr]
        yield from (*known, *(c.upper() for c in known), *(f"{c} " for c in known), *UNSEEN)
        return
    yield from EXTREMES
    cuts = _thresholds(scorer, i, feature)
    if len(cuts) > MOST_VALUES // 3:
        cuts = rng.sample(cuts, MOST_VALUES // 3)
    for cut in cuts:
        yield from (float(np.nextafter(cut, -np.inf)), cut, float(np.nextafter(cut, np.inf)))


def _thresholds(scorer: Scorer, i: int, feature: Feature) -> list[float]:
    found = list(feature.observed or ())
    if isinstance(scorer, AdditiveScorer):
        bins = scorer.bins[i]
        return found + (bins.cuts.tolist() if isinstance(bins, NumberBins) else [])
    thresholds: Sequence[float] = getattr(scorer, "thresholds", lambda _: [])(i)
    return found + list(thresholds)


def _columns(schema: Schema, part: pd.DataFrame) -> list[Column]:
    return [
        part[f.name].to_numpy(dtype=np.float64, na_value=np.nan)
        if f.kind == "number"
        else [v if isinstance(v, str) else None for v in part[f.name]]
        for f in schema
    ]


def _value(value: Any) -> Value:
    if isinstance(value, str) or value is None:
        return value
    return None if value != value else float(value)
