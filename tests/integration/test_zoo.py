"""Every kind of classifier that users bring: published, loaded, and the same answers as its library's."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.zoo.__main__ import fitted
from benchmarks.zoo.cases import CASES, Case, installed
from modelbundle import golden
from modelbundle.format import bundle


@pytest.mark.zoo
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_gives_the_answers_of_its_library(case: Case, tmp_path: Path) -> None:
    """By the scorer that it should get; row by row, in columns and as a book the same bits; and what it predicts."""
    if not installed(case) and not os.environ.get("REQUIRE_ZOO"):
        pytest.skip(f"needs {case.needs}: make test-zoo installs it")
    model, frame, made = fitted(case, tmp_path / "m.bundle")
    assert made.manifest["scorer"]["kind"] == case.kind, made.manifest["scorer"]["refused"]
    served = bundle.read(made.path)
    golden.check(served)
    part = frame[:100]
    rows = [[None if v != v or v is None else v for v in row] for row in part.astype(object).to_numpy().tolist()]
    columns: list[Any] = []
    for feature, values in zip(served.schema, zip(*rows, strict=True), strict=True):
        number = feature.kind == "number"
        columns.append(np.array([np.nan if v is None else v for v in values], float) if number else list(values))
    together = served.answers(columns)
    alone = [served.answer(row) for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, said = model.predict_proba(part), np.asarray(model.predict(part)).reshape(-1).tolist()
    near = 2e-6 if np.asarray(expected).dtype == np.float32 else 1e-12
    assert np.array([a.predict_proba for a in together]) == pytest.approx(np.asarray(expected, float), abs=near)
    assert [a.prediction for a in together] == said
    if case.kind != "pipeline":
        assert together == alone
        assert served.score(columns).probability.tolist() == [a.predict_proba[-1] for a in together]
