"""Microseconds per row, in process: each scorer against scikit-learn's own ``predict_proba`` on a frame."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from modelbundle import archive, bundle, golden
from modelbundle.model import Model

SIZES = (1, 10, 100, 1_000, 100_000)


def per_row(call: Callable[[], object], rows: int, budget: float = 0.4) -> float:
    """Median microseconds per row of repeated calls within ``budget`` seconds, five at least."""
    call()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < budget:
        at = time.perf_counter()
        call()
        times.append(time.perf_counter() - at)
    return statistics.median(times) / rows * 1e6


def measure(model_file: Path, frame: pd.DataFrame) -> dict[str, Any]:
    """One row with and without reasons; columns of each size; and scikit-learn on frames of the same rows."""
    import io

    import joblib

    content = model_file.read_bytes()
    model: Model = bundle.load(content)
    pipeline = joblib.load(io.BytesIO(archive.unpack(content)[bundle.PIPELINE]))
    rows = golden.make(model.schema, 64)
    scorer = model.scorer
    found: dict[str, Any] = {
        "scorer": scorer.kind,
        "one_row": per_row(lambda: [scorer.score_row(row) for row in rows], len(rows)),
        "one_row_with_reasons": per_row(lambda: [model.answer(row) for row in rows], len(rows)),
        "columns": {},
        "scikit_learn": {},
    }
    for size in SIZES:
        part = pd.concat([frame] * (size // len(frame) + 1), ignore_index=True).iloc[:size]
        columns = golden.columns(model.schema, [_row(row) for row in part.itertuples(index=False)])
        found["columns"][size] = per_row(partial(scorer.score_columns, columns), size)
        found["scikit_learn"][size] = per_row(partial(pipeline.predict_proba, part), size)
    return found


def _row(row: Any) -> list[Any]:
    return [
        value if isinstance(value, str) else None if value != value or value is None else float(value) for value in row
    ]
