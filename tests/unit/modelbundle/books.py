"""A small made-up book with everything that makes compiling hard, and what proves a scorer on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modelbundle.publishing.compiling import NotCompilable, compile_candidates
from modelbundle.publishing.compiling.proof import Proof, frame_columns, prove
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer, Value
from modelbundle.scorers.inputs import Inputs

GRADES = ("A", "B", "C", "D")
TENURES = ("< 1 year", "1 year", "2 years", "10+ years")
NUMBERS = ["amount", "rate", "income", "late"]
CATEGORIES = ["grade", "purpose", "tenure"]


def book(rows: int = 800, seed: int = 0) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Features and labels. ``income`` and ``tenure`` have missing values; ``late`` is a small count; ``purpose`` is skewed."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.integers(10, 400, rows) * 100,
            "grade": rng.choice(GRADES, rows),
            "rate": np.round(rng.uniform(0.05, 0.3, rows), 4),
            "purpose": rng.choice(["car", "house", "boat", "pool"], rows, p=[0.5, 0.4, 0.07, 0.03]),
            "income": np.where(rng.random(rows) < 0.1, np.nan, np.exp(rng.normal(11, 0.6, rows))),
            "tenure": pd.Series(rng.choice(TENURES, rows)).mask(rng.random(rows) < 0.1),
            "late": rng.poisson(0.4, rows),
        }
    )
    risk = 8 * frame["rate"] + 0.5 * frame["grade"].map(GRADES.index) + 0.4 * frame["late"] - 3.2
    risk = risk + 0.8 * frame["income"].isna() + (frame["purpose"] == "boat") * (frame["rate"] > 0.15)
    return frame, (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(np.int64)


def compiled(pipeline: Any, frame: pd.DataFrame) -> tuple[Scorer, Proof]:
    """The first scorer that could be made of a fitted pipeline, and its proof; the averages are those of the frame."""
    schema = Schema.from_frame(frame)
    scorer = next(c for c in compile_candidates(pipeline, Inputs(schema)) if not isinstance(c, NotCompilable))
    if scorer.has_contributions:
        scorer.fit_averages(frame_columns(schema, frame))
    return scorer, prove(pipeline, scorer, frame, Inputs(schema))


def reasons(pipeline: Any, frame: pd.DataFrame) -> dict[str, str]:
    """Why each kind of scorer could not be made."""
    candidates = compile_candidates(pipeline, Inputs(Schema.from_frame(frame)))
    return {c.kind: c.reason for c in candidates if isinstance(c, NotCompilable)}


def rows_of(schema: Schema, frame: pd.DataFrame) -> list[list[Value]]:
    """A frame's rows as a scorer takes them one by one."""
    columns = [column if isinstance(column, list) else column.tolist() for column in frame_columns(schema, frame)]
    return [[None if v is None or v != v else v for v in row] for row in zip(*columns, strict=True)]
