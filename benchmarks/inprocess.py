"""Microseconds per row, in process: each kind of scorer against scikit-learn's own ``predict_proba`` on a frame.

``python -m benchmarks.inprocess`` prints this part of ``make bench`` alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from late_payers import pipelines, simulation
from late_payers.features import COLUMNS, TARGET
from modelbundle import golden
from modelbundle.format import archive, bundle
from modelbundle.format.unpickling import unpickle
from modelbundle.publishing.compiling import NotCompilable, compile_candidates
from modelbundle.publishing.compiling.proof import frame_columns
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.inputs import Inputs

SIZES = (1, 10, 100, 1_000, 100_000)
FITTED_ON = 20_000

CANDIDATES: dict[str, Callable[[], Pipeline]] = {
    "logistic scorecard": pipelines.scorecard,
    "gradient boosting, 100 trees of depth 3": pipelines.gradient_boosting,
    "histogram boosting, 250 trees of 8 leaves": pipelines.unconstrained,
    "random forest, 100 trees": pipelines.tuned_forest,
}


def per_row(call: Callable[[], object], rows: int, budget: float = 0.3) -> float:
    """Median microseconds per row of repeated calls within ``budget`` seconds, three at least."""
    call()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < budget:
        at = time.perf_counter()
        call()
        times.append(time.perf_counter() - at)
    return statistics.median(times) / rows * 1e6


def measure(model_file: Path) -> dict[str, Any]:
    """The champion with and without reasons, the other kinds of scorer, and the cost as the work grows."""
    loans = simulation.simulate(FITTED_ON, 2)
    frame, late = loans[list(COLUMNS)], loans[TARGET]
    content = model_file.read_bytes()
    model = bundle.load(content)
    rows = golden.make(model.schema, 64)
    shipped = unpickle(archive.unpack(content)[bundle.PIPELINE])
    found = {"the shipped model": compare(model.scorer, shipped, frame, model.schema)}
    found["the shipped model"]["one_row_with_reasons"] = per_row(lambda: [model.answer(r) for r in rows], len(rows))
    for name, make in CANDIDATES.items():
        pipeline = make().fit(frame, late)
        schema = Schema.from_frame(frame, {})
        found[name] = compare(fastest(pipeline, schema), pipeline, frame, schema)
    return {"scorers": found, "growth": growth()}


def fastest(pipeline: Any, schema: Schema) -> Scorer:
    """The first scorer that could be compiled; publishing would prove it, which is not what is measured here."""
    return next(c for c in compile_candidates(pipeline, Inputs(schema)) if not isinstance(c, NotCompilable))


def compare(scorer: Scorer, pipeline: Any, frame: pd.DataFrame, schema: Schema) -> dict[str, Any]:
    """Microseconds per row: one by one, in columns of each size, and scikit-learn on frames of the same size."""
    rows = golden.make(schema, 64)
    found: dict[str, Any] = {
        "kind": scorer.kind,
        "one_row": per_row(lambda: [scorer.score_row(row) for row in rows], len(rows)),
        "columns": {},
        "scikit_learn": {},
    }
    for size in SIZES:
        part = pd.concat([frame] * (size // len(frame) + 1), ignore_index=True).iloc[:size]
        columns = frame_columns(schema, part)
        found["columns"][size] = per_row(partial(scorer.score_columns, columns), size)
        found["scikit_learn"][size] = per_row(partial(pipeline.predict_proba, part), size)
    return found


def growth() -> dict[str, dict[int, list[float]]]:
    """Microseconds for one row and per row of 1,000, as trees (of depth 3) and features (of an additive model) become more."""
    trees, features = {}, {}
    for count in (10, 100, 1000):
        model = GradientBoostingClassifier(n_estimators=count, random_state=0)
        trees[count] = _one_and_many(model, 10)
    for count in (10, 40, 160):
        model = HistGradientBoostingClassifier(max_leaf_nodes=4, interaction_cst="no_interactions", random_state=0)
        features[count] = _one_and_many(model, count)
    return {"trees": trees, "features": features}


def _one_and_many(model: Any, features: int) -> list[float]:
    x, y = make_classification(4000, features, n_informative=features // 2, random_state=0)
    frame = pd.DataFrame(np.asarray(x), columns=[f"x{i}" for i in range(features)])
    schema = Schema.from_frame(frame, {})
    scorer = fastest(Pipeline([("model", model)]).fit(frame, y), schema)
    rows, columns = golden.make(schema, 64), frame_columns(schema, frame.head(1000))
    one = per_row(lambda: [scorer.score_row(row) for row in rows], len(rows))
    return [one, per_row(partial(scorer.score_columns, columns), 1000)]


def table(found: dict[str, Any]) -> list[str]:
    """The measurements as Markdown lines."""
    shipped = found["scorers"]["the shipped model"]
    lines = [f"One row of the shipped model with its reasons: {shipped['one_row_with_reasons']:.1f} µs.", ""]
    lines += ["| µs per row, scorer (scikit-learn) | one row | " + " | ".join(f"{n:,} rows" for n in SIZES) + " |"]
    lines += ["|---" * (len(SIZES) + 2) + "|"]
    for name, facts in found["scorers"].items():
        cells = [f"{facts['columns'][n]:.3g} ({facts['scikit_learn'][n]:.3g})" for n in SIZES]
        lines.append(f"| {name}: {facts['kind']} | {facts['one_row']:.3g} | " + " | ".join(cells) + " |")
    lines += ["", "| as the work grows, µs | one row | each of 1,000 |", "|---|---|---|"]
    for what, counts in found["growth"].items():
        lines += [f"| {count:,} {what} | {one:.3g} | {many:.3g} |" for count, (one, many) in counts.items()]
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inprocess", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    print("\n".join(table(measure(parser.parse_args().model))))


if __name__ == "__main__":
    main()
