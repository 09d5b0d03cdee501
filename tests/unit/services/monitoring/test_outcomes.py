"""Outcomes are read as they come: each once, again where some were corrected or erased, and never more than a page at a time."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from modelbundle.format import bundle
from modelbundle.model import Model
from services.monitoring.analysis import performance
from services.monitoring.analysis.performance import LATE, Performance
from services.monitoring.log_reader.paging import PageSize
from services.monitoring.log_reader.queries import LabelledRows, PredictionLog
from services.monitoring.summary import DAY, HOUR
from services.predictionlog import audit, database
from tests.conftest import Made, make_book
from tests.unit.services.logs import NOW, Written, drawn, iso

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def model(bundles: list[Made]) -> Model:
    """What scored."""
    return bundle.read(bundles[0].path)


@pytest.fixture
def log(tmp_path: Path) -> Written:
    """An empty log."""
    return Written(tmp_path / "log")


@pytest.fixture
def rows(log: Written, model: Model) -> Rows:
    """60 predictions, a challenger's beside the first 30 of them."""
    found = log.add(model, make_book(60)[0], NOW - 9 * DAY)
    said = [
        {"prediction_id": r["prediction_id"], "probability": r["probability"] / 2, "time": r["time"]} for r in found
    ]
    database.challenge(log.engine, [{**one, "model_version": "c"} for one in said[:30]])
    return found


def judge(log: Written, rows: Rows) -> None:
    """Late is whose random digits begin with 0 to 7; an outcome comes every second up to NOW."""
    for i, row in enumerate(rows):
        log.judge([row], [drawn(row) < "8"], NOW - i)


def expected(rows: Rows, most: int = 20_000) -> tuple[int, list[str], list[int], list[float]]:
    chosen = sorted(rows, key=drawn)[:most]
    ids = [drawn(row) for row in chosen]
    return len(rows), ids, [int(own < "8") for own in ids], [row["probability"] for row in chosen]


def said(labelled: LabelledRows) -> tuple[int, list[str], list[int], list[float]]:
    order = labelled.drawn.argsort()
    ids = [own.decode() for own in labelled.drawn[order]]
    return labelled.total, ids, labelled.labels[order].tolist(), labelled.probabilities[order].tolist()


def test_each_outcome_counts_once_and_those_with_the_smallest_ids_are_kept(
    log: Written, model: Model, rows: Rows
) -> None:
    """Whatever is read together, whatever came meanwhile; and for the challenger on the same rows."""
    known = Performance(PredictionLog(log.url), 365, most=10)
    known.page_size = PageSize(7, 7)
    judge(log, rows[:25])
    known.update(NOW)
    assert said(known.versions[model.version]) == expected(rows[:25], 10)
    log.judge(rows[25:], [drawn(row) < "8" for row in rows[25:]], NOW + 1)
    for later in range(0, 3 * LATE, 20):
        known.update(NOW + later)
        assert said(known.versions[model.version]) == expected(rows, 10)
        beside = known.compared[model.version, "c"]
        assert said(beside) == expected(rows[:30], 10)
        assert beside.other is not None
        assert beside.other.tolist() == (beside.probabilities / 2).tolist()


def test_only_new_outcomes_are_read(log: Written, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once those before are in the log for long enough."""
    judge(log, rows[:40])
    known = Performance(PredictionLog(log.url), 365)
    read: list[int] = []
    labelled = known.log.labelled
    monkeypatch.setattr(
        known.log, "labelled", lambda *page: [*map(read.append, [1] * len(labelled(*page)))] and labelled(*page)
    )
    known.update(NOW + 2 * LATE)
    assert len(read) == 40
    log.judge(rows[40:50], [False] * 10, NOW + 2 * LATE)
    known.update(NOW + 2 * LATE)
    assert len(read) == 50


def test_corrections_and_erasures_are_noticed(log: Written, model: Model, rows: Rows) -> None:
    """Because each is an event of the log."""
    judge(log, rows)
    known = Performance(PredictionLog(log.url), 365)
    known.update(NOW + HOUR)
    before = known.versions[model.version].labels.sum()
    audit.correct(log.engine, next(r["prediction_id"] for r in rows if drawn(r) < "8"), False, "ann")
    known.update(NOW + HOUR)
    known.update(NOW + HOUR)
    assert known.versions[model.version].labels.sum() == before - 1
    audit.erase(log.engine, database.predictions.c.prediction_id == rows[0]["prediction_id"], {})
    known.update(NOW + HOUR)
    known.update(NOW + HOUR)
    assert known.versions[model.version].total == 59
    assert known.anew is None


def test_old_predictions_count_no_more(log: Written, model: Model, rows: Rows) -> None:
    """From the next day on."""
    judge(log, rows)
    log.judge(log.add(model, make_book(5)[0], NOW - DAY), [True] * 5)
    known = Performance(PredictionLog(log.url), 10)
    known.update(NOW + 2 * LATE)
    assert known.versions[model.version].total == 65
    known.update(NOW + 2 * DAY)
    known.update(NOW + 2 * DAY)
    assert known.versions[model.version].total == 5


def test_many_outcomes_are_read_a_page_at_a_time(log: Written, model: Model, rows: Rows) -> None:
    """A round without time reads one page, another process goes on, and what is known so far is shown."""
    judge(log, rows)
    totals = []
    known = Performance(PredictionLog(log.url), 365)
    known.page_size = PageSize(7, 7)
    for _ in range(12):
        known.update(NOW + HOUR, seconds=-1)
        totals.append(known.versions[model.version].total)
        plain = pickle.dumps({name: part for name, part in vars(known).items() if name != "log"})
        known = Performance(PredictionLog(log.url), 365)
        vars(known).update(pickle.loads(plain))
    assert totals == [7, 14, 21, 28, 35, 42, 49, 56, 60, 60, 60, 60]


def test_an_outcome_may_arrive_a_little_late(log: Written, model: Model, rows: Rows) -> None:
    """After another that has a later time."""
    log.judge(rows[:9], [False] * 9, NOW)
    known = Performance(PredictionLog(log.url), 365)
    known.update(NOW + 1)
    log.judge(rows[9:], [False] * 51, NOW - LATE / 2)
    known.update(NOW + 2)
    assert known.versions[model.version].total == 60


def test_an_outcome_that_just_came_is_shown(log: Written, model: Model, rows: Rows) -> None:
    """A report after the outcomes were sent has them."""
    log.judge(rows, [False] * 60, NOW)
    known = Performance(PredictionLog(log.url), 365)
    known.update(NOW)
    assert known.versions[model.version].total == 60
    assert known.settled.labelled == {}
    assert known.settled.after < iso(NOW) < performance.LAST
