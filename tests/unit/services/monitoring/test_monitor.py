"""The summary: what is read, what is kept, and what stays away from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sklearn.metrics import roc_auc_score

from modelbundle.format import bundle
from modelbundle.statistics import estimated_roc_auc
from services.monitoring.log_reader.model_versions import ModelVersions
from services.monitoring.log_reader.queries import PredictionLog
from services.monitoring.monitor import Monitor
from services.monitoring.summary import DAY, HOUR
from services.predictionlog import database
from tests.conftest import Made, make_book
from tests.unit.services.logs import NOW, Written, iso


def test_before_there_is_a_log_there_is_an_empty_summary(tmp_path: Path) -> None:
    """And no file is made by looking for one."""
    monitor = Monitor(PredictionLog(f"sqlite:///{tmp_path}/none.sqlite"), ModelVersions([tmp_path]), 7)
    content = monitor.summary(NOW)
    assert content["models"] == []
    assert sum(content["traffic"]["hour"]["rows"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_rows_are_counted_by_time_band_and_version(tmp_path: Path, bundles: list[Made]) -> None:
    """Every row, once; the latest version first; the window's rows by day."""
    log = Written(tmp_path / "log")
    first, second = (bundle.read(made.path) for made in bundles)
    frame, _ = make_book(300)
    log.add(first, frame, NOW - 3 * DAY)
    log.add(first, frame[:40], NOW - 90)
    log.add(second, frame[:20], NOW - 30)
    log.add(first, frame[:10], NOW - 20 * DAY)
    content = log.monitor(bundles[0].path.parent).summary(NOW)
    assert [(m["model_version"], m["rows"]) for m in content["models"]] == [(second.version, 20), (first.version, 340)]
    assert [day["rows"] for day in content["models"][1]["days"]] == [300, 40]
    minute, day = content["traffic"]["minute"], content["traffic"]["day"]
    assert minute["rows"][-3:] == [40, 20, 0]
    assert minute["versions"][second.version][-2] == 20
    assert sum(day["rows"]) == 370
    assert [sum(day["bands"][band][i] for band in day["bands"]) for i in range(30)] == day["rows"]
    assert list(day["bands"]) == ["low", "moderate", "high"]
    assert len({len(part) for part in (*day["versions"].values(), day["rows"], day["expected_rate"])}) == 1
    assert [band["rows"] for band in content["models"][0]["bands"]] == [
        sum(minute["bands"][label][-2:-1]) for label in ("low", "moderate", "high")
    ]


@pytest.mark.parametrize("last", [0, 1])
def test_the_model_that_answered_last_comes_first(tmp_path: Path, bundles: list[Made], last: int) -> None:
    """To the row: within one minute by the time, and within one microsecond by the prediction id, which sorts by time."""
    log = Written(tmp_path / "log")
    models = [bundle.read(made.path) for made in bundles]
    frame, _ = make_book(4)
    for later, model in enumerate((models[1 - last], models[last])):
        log.add(model, frame, NOW - 30 + later / 1000)
    content = log.monitor(bundles[0].path.parent).summary(NOW)
    wanted = [models[last].version, models[1 - last].version]
    assert [entry["model_version"] for entry in content["models"]] == wanted
    assert [list(series["versions"]) for series in content["traffic"].values()] == [wanted] * 3


def test_a_busy_hour_is_sampled_and_weighs_what_it_has(tmp_path: Path, bundles: list[Made]) -> None:
    """900 rows of one purpose in one hour and 100 of another in the next are nine to one, though equally many are read."""
    log = Written(tmp_path / "log")
    model = bundle.read(bundles[0].path)
    frame, _ = make_book(1000)
    log.add(model, frame[:900].assign(purpose="boat"), NOW - 2 * HOUR)
    log.add(model, frame[900:].assign(purpose="car"), NOW - 60)
    (entry,) = log.monitor(bundles[0].path.parent, hour_rows=100).summary(NOW)["models"]
    purpose = next(part for part in entry["features"] if part["name"] == "purpose")
    assert (entry["rows"], entry["sampled"]) == (1000, 200)
    assert {one["label"]: one["live"] for one in purpose["bins"]}["boat"] == pytest.approx(0.9)


def test_what_came_late_or_was_erased_is_noticed(tmp_path: Path, bundles: list[Made]) -> None:
    """Older hours are read once, and again in turn."""
    log = Written(tmp_path / "log")
    model = bundle.read(bundles[0].path)
    frame, _ = make_book(60)
    log.add(model, frame, NOW - 5 * HOUR)
    monitor = log.monitor(bundles[0].path.parent)
    assert monitor.summary(NOW)["models"][0]["rows"] == 60
    log.add(model, frame[:30], NOW - 4 * HOUR)
    for _ in range(7):
        content = monitor.summary(NOW)
    assert content["models"][0]["rows"] == 90
    with log.engine.begin() as connection:
        connection.execute(sa.delete(database.predictions))
    for _ in range(8):
        content = monitor.summary(NOW)
    assert content["models"] == []


def test_a_large_log_is_read_a_little_at_a_time(tmp_path: Path, bundles: list[Made]) -> None:
    """Latest first; without any time, only the hour that is going on is read."""
    log = Written(tmp_path / "log")
    model = bundle.read(bundles[0].path)
    frame, _ = make_book(20)
    log.add(model, frame, NOW - 30 * HOUR)
    monitor = log.monitor(bundles[0].path.parent)
    assert not monitor.hours.update(NOW, seconds=-1)
    assert monitor.hours.kept == {}
    assert monitor.hours.update(NOW)
    assert len(monitor.hours.kept) == 31


def test_live_figures_stand_beside_the_estimate(tmp_path: Path, bundles: list[Made]) -> None:
    """ROC-AUC, calibration and lift of what is known; of another version's, and of a challenger on the same loans."""
    log = Written(tmp_path / "log")
    first, second = (bundle.read(made.path) for made in bundles)
    frame, late = make_book(1200, seed=9)
    rows = log.add(first, frame, NOW - 40 * DAY)
    log.judge(rows, late)
    others = second.answers(_columns(second, frame))
    challenged = [
        {"prediction_id": row["prediction_id"], "model_version": second.version, "time": iso(NOW - DAY)}
        | {"probability": answer.predict_proba[1]}
        for row, answer in zip(rows, others, strict=True)
    ]
    log.add(first, frame[:5], NOW - 60)
    database.challenge(log.engine, challenged)
    (entry,) = log.monitor(bundles[0].path.parent).summary(NOW)["models"]
    live = entry["performance"]
    own = np.array([row["probability"] for row in rows])
    assert live["roc_auc"]["value"] == pytest.approx(roc_auc_score(late, own))
    assert (live["outcomes"], live["positives"]) == (1200, int(late.sum()))
    assert live["published_roc_auc"] == 0.7
    assert live["estimated_roc_auc"] == pytest.approx(estimated_roc_auc(own))
    assert sum(point["count"] for point in live["curve"]) == 1200
    (challenger,) = entry["challengers"]
    theirs = [answer.predict_proba[1] for answer in others]
    assert challenger["challenger"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(late, theirs))
    assert challenger["champion"]["roc_auc"] == live["roc_auc"]
    difference = challenger["roc_auc_difference"]
    assert difference["value"] == pytest.approx(roc_auc_score(late, theirs) - roc_auc_score(late, own))
    assert challenger["mean_difference"] == pytest.approx(np.mean(theirs) - own.mean())


def _columns(model: bundle.Model, frame: object) -> object:
    from modelbundle.publishing.compiling.proof import frame_columns

    return frame_columns(model.schema, frame)


def test_few_outcomes_give_no_figures(tmp_path: Path, bundles: list[Made]) -> None:
    """Nine late loans say how many they are, and nothing more."""
    log = Written(tmp_path / "log")
    frame, _ = make_book(60)
    log.judge(log.add(bundle.read(bundles[0].path), frame), [True] * 9 + [False] * 51)
    live = log.monitor(bundles[0].path.parent).summary(NOW)["models"][0]["performance"]
    assert (live["positives"], live["roc_auc"], live["lift_top_decile"]) == (9, None, None)
    assert "too few" in live["text"]


def test_a_model_that_is_not_kept_here_is_counted(tmp_path: Path, bundles: list[Made]) -> None:
    """Its rows and its expected rate are known from the log; that it cannot be compared is said."""
    log = Written(tmp_path / "log")
    frame, _ = make_book(600)
    log.add(bundle.read(bundles[0].path), frame)
    (entry,) = log.monitor(tmp_path).summary(NOW)["models"]
    assert (entry["rows"], entry["status"]) == (600, "unknown")
    assert "not kept here" in entry["why_not"]
    assert 0 < entry["expected_rate"] < 1
    assert entry["features"] == []


def test_events_are_shown_without_the_ids_of_callers(tmp_path: Path, bundles: list[Made]) -> None:
    """Latest first, in words."""
    log = Written(tmp_path / "log")
    for at, kind, detail in (
        (NOW - 50, "switch", {"old": "a" * 64, "model_version": "b" * 64, "generation": 2, "host": "h"}),
        (NOW - 40, "erasure", {"record_id": "loan-of-anna", "predictions": 3}),
        (NOW - 30, "refusal", {"model_version": "c" * 64, "reason": "golden rows differ"}),
    ):
        with log.engine.begin() as connection:
            connection.execute(sa.insert(database.events).values(time=iso(at), kind=kind, detail=json.dumps(detail)))
    found = log.monitor(tmp_path).summary(NOW)["events"]
    assert [event["text"] for event in found] == [
        "Refused cccccccccccc: golden rows differ.",
        "3 predictions were erased.",
        "Switched from aaaaaaaaaaaa to bbbbbbbbbbbb (generation 2).",
    ]
    assert "anna" not in json.dumps(found)
