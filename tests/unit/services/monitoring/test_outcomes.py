"""Outcomes are read as they come: each once, again where some were corrected or erased, and never more than a page at a time."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelbundle.evidence import Calibration, Evidence, log_loss_differences
from modelbundle.format import bundle
from modelbundle.model import Model
from services.monitoring.analysis import performance, sentences
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


def begun(log: Written, rows: Rows) -> Performance:
    """The outcomes of 25 rows, read a few at a time."""
    known = Performance(PredictionLog(log.url), 365, most=10)
    known.page_size = PageSize(7, 7)
    judge(log, rows[:25])
    known.update(NOW)
    return known


def judge_others(log: Written, rows: Rows) -> None:
    """The outcomes of the other rows come all at once, after that."""
    log.judge(rows[25:], [drawn(row) < "8" for row in rows[25:]], NOW + 1)


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
    known = begun(log, rows)
    assert said(known.versions[model.version]) == expected(rows[:25], 10)
    judge_others(log, rows)
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


def evidence_of(log: Written, model: Model, now: float = NOW + HOUR) -> tuple[dict[str, Any], dict[str, Any]]:
    """For calibration, and for the challenger, by a monitor that reads everything at once."""
    known = Performance(PredictionLog(log.url), 365)
    known.update(now)
    own = known.of(model.version, None)
    beside = known.with_challenger(model.version, "c", (None, None))["evidence"]
    assert own is not None
    return own["evidence"], beside


def test_evidence_is_of_all_outcomes_in_the_order_in_which_they_became_known(
    log: Written, model: Model, rows: Rows
) -> None:
    """Page by page, with what came meanwhile and in another process: as from the rows, sorted by their outcome's time."""
    known = begun(log, rows)
    judge_others(log, rows)
    for later in range(0, 3 * LATE, 20):
        other = Performance(known.log, 365, most=10)
        vars(other).update(
            pickle.loads(pickle.dumps({k: v for k, v in vars(known).items() if k not in ("log", "models")}))
        )
        known = other
        known.update(NOW + later)
    order = [*reversed(rows[:25]), *sorted(rows[25:], key=lambda row: row["prediction_id"])]
    labels = np.array([int(drawn(row) < "8") for row in order])
    said = np.array([row["probability"] for row in order])
    calibration, comparison = Calibration(), Evidence()
    calibration.observe(labels, said)
    beside = np.array([row in rows[:30] for row in order])
    comparison.update(log_loss_differences(labels[beside], said[beside], said[beside] / 2))
    found = known.of(model.version, None)
    assert found is not None
    for own, expected in (
        (found["evidence"], calibration.to_json("too_many", "too_few")),
        (
            known.with_challenger(model.version, "c", (None, None))["evidence"],
            comparison.to_json("challenger", "champion"),
        ),
    ):
        assert (
            [p["rows"] for p in own["path"]] == [p["rows"] for p in expected["path"]] == list(range(1, own["rows"] + 1))
        )
        for name in set(expected) - {"path"}:
            assert own[name] == expected[name]
        assert own["path"][0]["time"] == iso(NOW - 24)
    assert found["evidence"]["predicted_to_observed"]["low"] < 1


def test_evidence_forgets_what_was_erased_and_what_was_corrected(log: Written, model: Model, rows: Rows) -> None:
    """As if the rows had never been, or always been so."""
    judge(log, rows)
    whole = evidence_of(log, model)
    audit.correct(log.engine, rows[3]["prediction_id"], not drawn(rows[3]) < "8", "ann")
    corrected = evidence_of(log, model)
    assert corrected[0]["too_many"] != whole[0]["too_many"]
    assert corrected[1]["challenger"] != whole[1]["challenger"]
    audit.erase(log.engine, database.predictions.c.prediction_id == rows[3]["prediction_id"], {})
    erased = evidence_of(log, model)
    assert (erased[0]["rows"], erased[1]["rows"]) == (59, 29)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"challenger": 25.0, "champion": 0.1}, "the challenger's log loss is lower (evidence 25)"),
        ({"challenger": 0.1, "champion": 1e9}, "the champion's log loss is lower (evidence above a million)"),
        (
            {"challenger": 4.0, "champion": 0.1, "more": 1234},
            "evidence 4 for the challenger, of 20; at this rate about 1,200",
        ),
        (
            {"challenger": 0.5, "champion": 0.4, "more": None},
            "tell no difference in log loss (evidence 0.5; 20 is asked for)",
        ),
    ],
)
def test_evidence_in_words(values: dict[str, Any], text: str) -> None:
    """Who, how much of what is asked for, and how long it takes."""
    more = values.pop("more", 0)
    assert text in sentences.evidence({"rows": 1000, **values, "more": {"challenger": more, "champion": None}})
