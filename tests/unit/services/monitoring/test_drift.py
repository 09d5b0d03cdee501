"""What is called drift: differences that are no chance and are large, or move the score; nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from late_payers.simulation import simulate
from modelbundle.format import bundle
from modelbundle.model import Model
from services.monitoring import unseen
from services.monitoring.analysis.drift import verdict
from tests.unit.services.logs import NOW, Written

ROOT = Path(__file__).resolve().parents[4]
SHIPPED = ROOT / "models" / "late-payers.bundle"
ROWS = 3000


@pytest.fixture(scope="module")
def shipped() -> Model:
    """The model that ships; its loans are real, those of the tests are the stand-in's."""
    return bundle.read(SHIPPED)


def summary(folder: Path, model: Model, frame: pd.DataFrame) -> dict[str, Any]:
    """The only model's entry, for rows that were scored and logged."""
    log = Written(folder)
    log.add(model, frame)
    (entry,) = log.monitor(SHIPPED.parent, hour_rows=ROWS).summary(NOW)["models"]
    found: dict[str, Any] = entry
    return found


def alerts(entry: dict[str, Any]) -> set[str]:
    return {part["name"] for part in (entry["score"], *entry["features"]) if part["status"] == "drifted"}


@pytest.mark.slow
def test_no_drift_raises_nothing_over_twenty_seeds(tmp_path: Path, shipped: Model) -> None:
    """Eleven tests on each of twenty books like the training's, and not one alert, nor a warning."""
    for seed in range(20):
        entry = summary(tmp_path / str(seed), shipped, simulate(ROWS, seed))
        assert (entry["status"], alerts(entry)) == ("stable", set()), seed
        assert entry["text"] == "The rows look like those of training."


def test_incomes_down_and_a_new_purpose_raise_those_two(tmp_path: Path, shipped: Model) -> None:
    """Incomes 30 % lower and one purpose in twenty new: these features, no other; said in words and in figures."""
    frame = simulate(ROWS, 5)
    frame["annual_inc"] *= 0.7
    frame.loc[np.random.default_rng(5).random(ROWS) < 0.05, "purpose"] = "wedding"
    frame.loc[:3, "purpose"] = "to marry Anna"
    entry = summary(tmp_path, shipped, frame)
    assert alerts(entry) == {"annual_inc", "purpose"}
    assert [part["status"] for part in entry["features"][2:]] == ["stable"] * 8
    by_name = {part["name"]: part for part in entry["features"]}
    assert by_name["annual_inc"]["psi"] > 0.25
    assert "Annual income is lower than in training" in by_name["annual_inc"]["text"]
    assert by_name["purpose"]["unseen_rate"] == pytest.approx(0.05, abs=0.01)
    assert [value["value"] for value in by_name["purpose"]["unseen_values"]] == ["wedding"]
    (value,) = by_name["purpose"]["unseen_values"]
    assert (value["length"], value["rows"] > 100) == (7, True)
    assert f"such as a text of 7 characters in {value['rows']} rows: " in by_name["purpose"]["text"]
    whole = {"models": [entry]}
    assert "wedding" not in str(unseen.without_values(whole))
    assert "such as “wedding”: " in str(unseen.with_values(whole))
    assert "Anna" not in str(entry)
    assert "Annual income" in entry["text"]


def test_the_drift_of_a_feature_is_weighed_by_what_it_does_to_the_score(tmp_path: Path, shipped: Model) -> None:
    """All contributions of live rows add up to the change of the mean score, and the sentence says what one alone does."""
    frame = simulate(ROWS, 6)
    worse = np.random.default_rng(6).random(ROWS) < 0.4
    frame.loc[worse, "grade"] = "E"
    entry = summary(tmp_path, shipped, frame)
    grade = next(part for part in entry["features"] if part["name"] == "grade")
    assert entry["features"][0] is grade
    assert grade["effect"] > 0.1
    assert grade["rate_without"] < entry["expected_rate"]
    assert "This alone moves the expected rate (late next quarter) from" in grade["text"]
    mean = float(np.mean(shipped.scorer.score_columns(columns(shipped, frame)))) - shipped.scorer.baseline
    assert entry["score"]["effect"] == pytest.approx(mean)
    assert sum(part["effect"] for part in entry["features"]) == pytest.approx(mean)


def columns(model: Model, frame: pd.DataFrame) -> Any:
    from modelbundle.publishing.compiling.proof import frame_columns

    return frame_columns(model.schema, frame[list(model.schema.names)])


def test_a_few_tries_raise_nothing(tmp_path: Path, shipped: Model) -> None:
    """Below 500 rows there is no verdict, however different they are; the sentence says how many are missing."""
    frame = pd.concat([simulate(1, 7)] * 400, ignore_index=True)
    entry = summary(tmp_path, shipped, frame)
    assert (entry["status"], alerts(entry)) == ("waiting", set())
    assert entry["text"].startswith("400 rows so far; from 500 on")


def test_values_that_went_missing_or_changed_their_unit(tmp_path: Path, shipped: Model) -> None:
    """A rate of missing values has words of its own, and so has a range that training never saw."""
    frame = simulate(ROWS, 8)
    frame.loc[np.random.default_rng(8).random(ROWS) < 0.3, "revol_util"] = np.nan
    frame["dti"] = frame["dti"] * 100
    entry = summary(tmp_path, shipped, frame)
    by_name = {part["name"]: part for part in entry["features"]}
    assert {"revol_util", "dti"} <= alerts(entry) <= {"revol_util", "dti", "score"}
    assert by_name["revol_util"]["missing_rate"] == pytest.approx(0.3, abs=0.03)
    assert "is missing in" in by_name["revol_util"]["text"]
    assert by_name["dti"]["out_of_range_rate"] > 0.9
    assert "are the units the same?" in by_name["dti"]["text"]


@pytest.mark.parametrize(
    ("psi", "q", "effect", "status"),
    [
        (None, None, None, "waiting"),
        (0.9, 0.02, 0.9, "stable"),
        (0.05, 0.001, 0.05, "stable"),
        (0.15, 0.001, 0.05, "shifted"),
        (0.05, 0.001, -0.15, "drifted"),
        (0.01, 0.001, 0.15, "stable"),
        (0.3, 0.001, 0.0, "drifted"),
        (0.15, 0.001, None, "shifted"),
    ],
)
def test_a_verdict_needs_both(psi: float | None, q: float | None, effect: float | None, status: str) -> None:
    """Chance must be excluded, and the size must matter: by the index, or by the score."""
    assert verdict(psi, q, effect) == status
