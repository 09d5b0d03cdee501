"""How the log is read: bounded questions, spans that add up, and what arrives late, or is erased, is noticed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from modelbundle.format import bundle
from modelbundle.model import Model
from services.monitoring.analysis.traffic import RowCount
from services.monitoring.log_reader import hours, paging
from services.monitoring.log_reader.hours import AGAIN, LATE, SPAN, Hours
from services.monitoring.log_reader.paging import FEWEST, FIRST, PageSize, merge_counts
from services.monitoring.log_reader.queries import PredictionLog
from services.monitoring.monitor import Monitor
from services.monitoring.summary import DAY, HOUR
from services.predictionlog import database
from tests.conftest import Made, make_book
from tests.unit.services.logs import NOW, Written, drawn, iso


@pytest.fixture
def log(tmp_path: Path) -> Written:
    """An empty log."""
    return Written(tmp_path / "log")


@pytest.fixture(scope="module")
def model(bundles: list[Made]) -> Model:
    """What scores."""
    return bundle.read(bundles[0].path)


@pytest.fixture
def monitor(log: Written, bundles: list[Made]) -> Monitor:
    """What reads it."""
    return log.monitor(bundles[0].path.parent, hour_rows=20)


@pytest.fixture
def small(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of seven rows."""
    monkeypatch.setattr(paging, "FEWEST", 7)
    monitor.hours.page_sizes = PageSize(7, 7), PageSize()


class Clock:
    """Goes on by a second with each question to the database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: PredictionLog) -> None:
        self.seconds = 0.0
        self.questions: list[str] = []
        sa.event.listen(log.engine, "before_cursor_execute", self.tick)
        monkeypatch.setattr(hours.time, "monotonic", lambda: self.seconds)

    def tick(self, _: Any, __: Any, statement: str, parameters: Any, *more: Any) -> None:
        self.seconds += 1
        self.questions.append(statement)


def execute(log: Written, statement: sa.Executable) -> None:
    with log.engine.begin() as connection:
        connection.execute(statement)


def spread(log: Written, model: Model, rows: int = 240) -> list[dict[str, Any]]:
    """Rows over the last hours, a bundle of six at a time and on both sides of each border of minute, span and hour."""
    frame, _ = make_book(rows)
    found: list[dict[str, Any]] = []
    for i in range(0, rows, 6):
        at = NOW - NOW % HOUR + HOUR / 2 - i * 40
        found += log.add(model, frame[i : i + 6], at, seed=i * SEED)
        for border in (at // SPAN * SPAN, at // SPAN * SPAN - 1):
            found += log.add(model, frame[:1], border, seed=(i + 1) * SEED)
    last = found[0]["prediction_id"]
    execute(log, sa.update(database.predictions).where(database.predictions.c.prediction_id == last).values(time=EDGE))
    found[0]["time"] = EDGE
    return found


SEED = 10**6  # between two seeds: the time is added
EDGE = iso(NOW - NOW % HOUR - 1).replace(".000000", ".999999")


def truth(rows: list[dict[str, Any]], most: int) -> dict[str, tuple[int, list[float]]]:
    """Of each hour (as text): how many rows, and the probabilities of those with the smallest random digits."""
    hours: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        hours.setdefault(row["time"][:13], []).append(row)
    return {
        hour: (len(own), [row["probability"] for row in sorted(own, key=drawn)[:most]]) for hour, own in hours.items()
    }


def kept(read: Hours) -> dict[str, tuple[int, list[float]]]:
    """The same, as it was read."""
    return {
        iso(hour)[:13]: (sum(c.rows for c in own.counts), list(sample.probabilities))
        for hour, own in read.kept.items()
        for sample in own.samples.values()
    }


@pytest.mark.parametrize("pages", ["small", "large"])
def test_pages_and_spans_add_up(
    log: Written, model: Model, monitor: Monitor, pages: str, request: pytest.FixtureRequest
) -> None:
    """Each row is counted once, and looked into are those with the smallest digits of the hour, whatever was read together."""
    if pages == "small":
        request.getfixturevalue("small")
    rows = spread(log, model)
    assert monitor.hours.update(NOW)
    assert len(truth(rows, 20)) == 4
    assert kept(monitor.hours) == truth(rows, 20)
    last = int(NOW // HOUR * HOUR)
    assert sum(count.rows for count in monitor.hours.counts(last, last + 60)) == sum(
        row["time"].startswith(iso(last)[:16]) for row in rows
    )
    for minutes in range(1, 120, 7):
        monitor.hours.update(NOW + 60 * minutes)
    assert kept(monitor.hours) == truth(rows, 20)
    assert not any(own.spans for hour, own in monitor.hours.kept.items() if hour < NOW)


def test_no_question_leads_through_a_whole_table(log: Written, model: Model, monitor: Monitor) -> None:
    """SQLite takes the indexes of times, and the primary keys; never all rows of a version, which once had an index."""
    execute(log, sa.text("CREATE INDEX of_version ON predictions (model_version)"))
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *more: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(monitor.log.engine, "before_cursor_execute", note)
    rows = spread(log, model)
    log.judge(rows, [False] * len(rows))
    challenged = [
        {key: row[key] for key in ("prediction_id", "probability", "time")} | {"model_version": "c"} for row in rows
    ]
    database.challenge(log.engine, challenged)
    monitor.summary(NOW)
    log.add(model, make_book(3)[0], NOW - 9 * HOUR)
    monitor.summary(NOW + 60)
    monitor.summary(NOW + 120)
    assert len({statement for statement, _ in asked if "\nFROM predictions" in statement}) >= 5
    with sqlite3.connect(str(monitor.log.url.database)) as connection:
        for statement, parameters in asked:
            if "FROM" in statement and "sqlite_master" not in statement and "FROM events" not in statement:
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
                scanned = [step for step in plan if step.startswith("SCAN") and step != "SCAN anon_1"]
                assert not scanned, (statement, plan)
                assert "of_version" not in str(plan), (statement, plan)
    connection.close()


def test_what_does_not_fit_into_a_round_comes_in_the_next(
    log: Written, model: Model, monitor: Monitor, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round ends within a page's questions of its time, and goes on where the last one ended.

    That is so where the time is not even enough for the spans that are read again and again.
    """
    rows = spread(log, model)
    clock = Clock(monkeypatch, monitor.log)
    rounds = 1
    while not monitor.hours.update(NOW, seconds=12):
        assert clock.seconds <= 12 + 4
        clock.seconds = 0
        rounds += 1
        assert rounds < 100
    assert rounds > 10
    assert kept(monitor.hours) == truth(rows, 20)


def test_another_process_goes_on_with_what_was_read(
    log: Written, model: Model, monitor: Monitor, bundles: list[Made], small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the log and the versions can be handed over, in the middle of an hour too."""
    rows = spread(log, model)
    clock = Clock(monkeypatch, monitor.log)
    while not monitor.hours.unfinished:
        assert not monitor.hours.update(NOW, seconds=9)
    assert monitor.hours.kept
    other = log.monitor(bundles[0].path.parent, hour_rows=20)
    other.resume(monitor.state())
    before = clock.seconds
    assert other.hours.update(NOW)
    assert kept(other.hours) == truth(rows, 20)
    assert clock.seconds == before


def test_late_rows_and_erased_ones_are_noticed_in_the_next_round(log: Written, model: Model, monitor: Monitor) -> None:
    """In the hour that goes on, in the one before, and in older ones."""
    rows = spread(log, model)
    monitor.hours.update(NOW)
    frame, _ = make_book(2)
    for ago in (20 * 60, HOUR, 2 * HOUR):
        rows += log.add(model, frame, NOW - ago, seed=ago * SEED)
    monitor.hours.update(NOW)
    assert kept(monitor.hours) == truth(rows, 20)
    for hour in sorted({row["time"][:13] for row in rows}):
        gone = next(row for row in sorted(rows, key=lambda row: row["prediction_id"]) if row["time"].startswith(hour))
        ids = database.predictions.c.prediction_id
        execute(log, sa.delete(database.predictions).where(ids == gone["prediction_id"]))
        rows.remove(gone)
    monitor.hours.update(NOW)
    assert kept(monitor.hours) == truth(rows, 20)


def test_older_hours_are_counted_in_turn(
    log: Written, model: Model, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not all fit into a round: latest first."""
    monkeypatch.setattr(hours, "COUNTED", 1)
    frame, _ = make_book(8)
    rows = [row for ago in range(2, 10) for row in log.add(model, frame[:4], NOW - ago * HOUR, seed=ago * SEED)]
    monitor.hours.update(NOW)
    rows += log.add(model, frame[:1], NOW - 4 * HOUR, seed=-99 * SEED)
    found = [monitor.hours.update(NOW) and kept(monitor.hours) == truth(rows, 20) for _ in range(3)]
    assert found == [False, False, True]


def test_as_many_rows_may_come_as_go(log: Written, model: Model, monitor: Monitor) -> None:
    """What counting cannot tell is noticed when the hour's turn comes to be read again."""
    frame, _ = make_book(8)
    for ago in range(4, 8):
        log.add(model, frame[:4], NOW - ago * HOUR, seed=ago * SEED)
    monitor.hours.update(NOW)
    execute(log, sa.delete(database.predictions))
    rows = [row for ago in range(4, 8) for row in log.add(model, frame[4:], NOW - ago * HOUR, seed=(ago + 50) * SEED)]
    for _ in range(8):
        monitor.hours.update(NOW)
    assert kept(monitor.hours) == truth(rows, 20)


def test_a_span_is_read_until_its_last_rows_have_arrived(
    log: Written, model: Model, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then no more: a round with nothing new reads two spans and one older hour, and counts the rest."""
    rows = spread(log, model)
    monitor.hours.update(NOW)
    rows += log.add(model, make_book(3)[0], NOW - 10, seed=-SEED)
    monitor.hours.update(NOW)
    assert kept(monitor.hours) == truth(rows, 20)
    read: list[tuple[str, str]] = []
    counts = monitor.log.counts
    monkeypatch.setattr(monitor.log, "counts", lambda after, upto: read.append((after, upto)) or counts(after, upto))  # type: ignore[func-returns-value]
    settled = NOW // SPAN * SPAN + LATE
    monitor.hours.update(settled)
    assert len(read) == 3
    read.clear()
    monitor.hours.update(settled + 1)
    assert len(read) == 2


def test_reading_again_is_bounded_in_itself(
    log: Written, model: Model, monitor: Monitor, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours that changed are read again a few pages at a time, however much time there is."""
    frame, _ = make_book(300)
    for minute in range(50):
        log.add(model, frame[minute * 6 : minute * 6 + 6], NOW - 5 * HOUR + minute * 20, seed=minute * SEED)
    monitor.hours.update(NOW)
    log.add(model, frame[:1], NOW - 5 * HOUR, seed=-SEED)
    pages: list[str] = []
    page = monitor.log.page
    monkeypatch.setattr(monitor.log, "page", lambda after, upto, rows: pages.append(after) or page(after, upto, rows))  # type: ignore[func-returns-value]
    monitor.hours.update(NOW)
    assert AGAIN <= len(pages) <= AGAIN + 2
    assert sum(n for n, _ in kept(monitor.hours).values()) == 300
    for _ in range(5):
        monitor.hours.update(NOW)
    assert sum(n for n, _ in kept(monitor.hours).values()) == 301


def test_samples_end_where_the_days_do(log: Written, model: Model, monitor: Monitor) -> None:
    """Older hours are counted, by the hour."""
    log.add(model, make_book(9)[0], NOW - 6 * DAY)
    log.add(model, make_book(9)[0], NOW - 6 * DAY + 3 * HOUR)
    monitor.hours.update(NOW)
    assert [sample.sampled for sample in monitor.hours.samples(model.version, 0, NOW)] == [9, 9]
    monitor.hours.update(NOW + 3 * DAY)
    assert monitor.hours.samples(model.version, 0, NOW) == []
    assert sum(count.rows for count in monitor.hours.counts(0, NOW)) == 18


def test_a_question_gets_smaller_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """And larger again; one that was given up is asked for fewer rows, and where that does not help, it is raised."""
    now, takes = [0.0], [2.0]
    monkeypatch.setattr(paging.time, "monotonic", lambda: now[0])
    asked: list[int] = []

    def question(rows: int) -> str:
        asked.append(rows)
        now[0] += takes[0]
        if takes[0] >= 10:
            raise OperationalError("SELECT", {}, Exception("interrupted"))
        return "answer"

    page_size = PageSize()
    assert [page_size.ask(question), page_size.ask(question)] == ["answer"] * 2
    takes[0] = 0.1
    page_size.ask(question)
    assert asked == [FIRST, FIRST // 2, FIRST // 4]
    assert page_size.rows == FIRST // 2
    takes[0] = 10
    with pytest.raises(OperationalError):
        page_size.ask(question)
    assert (asked[-1], page_size.rows) == (FEWEST, FEWEST)
    takes[0] = 1
    now[0] = 0
    monkeypatch.setattr(paging, "SECONDS", 0.5)
    assert page_size.ask(question) == "answer"


def test_a_question_to_sqlite_ends_in_time(log: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would go on for ever is interrupted, so that who wants to write can."""
    ticks = iter(range(0, 10**6, 5))
    monkeypatch.setattr(database.time, "monotonic", lambda: next(ticks))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with PredictionLog(log.url).engine.connect() as connection, pytest.raises(OperationalError, match="interrupted"):
        connection.execute(sa.text(endless))


def test_counts_are_taken_together_by_minute_or_hour() -> None:
    """Rows and sums of one version and band are added."""
    parts = [
        [RowCount("v", 3600, "low", 2, 0.5)],
        [RowCount("v", 3660, "low", 1, 0.25), RowCount("v", 3660, None, 1, 0.125)],
    ]
    assert merge_counts(parts, HOUR) == [RowCount("v", 3600, "low", 3, 0.75), RowCount("v", 3600, None, 1, 0.125)]
    assert merge_counts(parts) == [part[i] for part, i in ((parts[0], 0), (parts[1], 0), (parts[1], 1))]
