"""Rows of a book for which the model gives no probability: rejected with their reason, beside those that do not fit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures

from modelbundle.publishing.publish import publish
from portfolio.__main__ import main

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(120, 2)), columns=["a", "b"])
LABELS = (FRAME["a"] > 0).astype(int)


def book(rows: int = 40) -> pd.DataFrame:
    """Every tenth row is beyond what models take, every fifteenth has no number."""
    found = FRAME[:rows].astype(object)
    found.loc[found.index % 10 == 3, ["a", "b"]] = 1e200
    found.loc[found.index % 15 == 4, "b"] = "none"
    return found.assign(name=[f"row {i}" for i in range(rows)])


def scored(source: Path, target: Path, model: Path) -> list[dict[str, str]]:
    """Score a book; returns the rows that were rejected."""
    options = ["--quiet", "--workers", "1", "--allow-pickle"]
    assert main([str(source), str(target), "--model", str(model), *options]) == 0
    with target.with_name(f"{target.name}.rejected.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (GaussianNB(), "a probability is not from 0 to 1"),
        (RadiusNeighborsClassifier(radius=3.0), "it raises ValueError"),
        (make_pipeline(PolynomialFeatures(3), LogisticRegression()), "it raises ValueError"),
    ],
    ids=["NaN", "raises", "a step raises"],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_they_are_rejected_and_the_others_are_scored(model: Any, why: str, ending: str, tmp_path: Path) -> None:
    """With their row, and the row itself."""
    made = publish(model.fit(FRAME, LABELS), FRAME, LABELS, tmp_path / "m.bundle")
    sent = book()
    sent.to_csv(tmp_path / "in.csv", index=False)
    rejected = {int(row["row"]): row for row in scored(tmp_path / "in.csv", tmp_path / f"out.{ending}", made.path)}
    unscorable = {i + 1 for i in range(40) if i % 10 == 3}
    assert set(rejected) == unscorable | {i + 1 for i in range(40) if i % 15 == 4}
    for row in unscorable:
        assert rejected[row]["error"] == f"the model gives no probability for this row ({why})"
        assert f"row {row - 1}" in rejected[row]["record"]
    found = pd.read_csv(tmp_path / "out.csv") if ending == "csv" else pd.read_parquet(tmp_path / "out.parquet")
    kept = [i for i in range(40) if i + 1 not in rejected]
    assert found["name"].tolist() == [f"row {i}" for i in kept]
    expected = model.predict_proba(FRAME.iloc[kept])[:, 1]
    assert found["probability"].to_numpy() == pytest.approx(expected, abs=1e-9)


def test_a_category_that_a_pipeline_refuses_is_named(tmp_path: Path) -> None:
    """The encoder as it comes, before something that is not compiled."""
    frame = FRAME.assign(c=np.where(FRAME["b"] > 0, "x", "y"))
    columns = make_column_transformer((OneHotEncoder(sparse_output=False), ["c"]), ("passthrough", ["a"]))
    made = publish(make_pipeline(columns, GaussianNB()).fit(frame, LABELS), frame, LABELS, tmp_path / "m.bundle")
    frame[:5].assign(c=["x", "z", "y", "z", "x"]).to_csv(tmp_path / "in.csv", index=False)
    rejected = scored(tmp_path / "in.csv", tmp_path / "out.csv", made.path)
    assert [(row["row"], row["pointer"]) for row in rejected] == [("2", "/c"), ("4", "/c")]
    assert "category that training has seen" in rejected[0]["error"]
