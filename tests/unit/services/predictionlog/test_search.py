"""Searching the log: every row once, newest first, each page by an index and for the same work."""

from __future__ import annotations

import random
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.predictionlog import audit, database, search
from services.predictionlog.search import Place, Search
from tests.unit.services.predictionlog.conftest import execute, patient

MODELS = [digit * 64 for digit in "01a"]
BANDS = [None, "low", "high", "very high"]
DAY = "2026-11-24"
MANY = 20_000


def rows(number: int, seed: int = 5) -> list[dict[str, Any]]:
    """Some of one time, as those of one request are."""
    drawn = random.Random(seed)
    texts = dict.fromkeys(("probabilities", "input", "reasons", "warnings"), "[]")
    return [
        {
            **texts,
            "prediction_id": f"{drawn.getrandbits(128):032x}",
            "time": f"{DAY}T{10 + i // 36_000:02}:{i // 600 % 60:02}:{i // 10 % 60:02}.000000+00:00",
            "model_version": MODELS[i % 7 // 3],
            "generation": 1,
            "request_id": f"request-{i // 20}" if i % 3 else "same",
            "key_name": None,
            "record_id": None if i % 5 == 0 else f"loan-{i % 11}",
            "probability": 0.1,
            "band": BANDS[i % 9 // 3] if i != 7 else "very high",
        }
        for i in range(number)
    ]


def log(url: str, found: list[dict[str, Any]]) -> sa.Engine:
    database.migrate(database.connect(url))
    database.insert(database.connect(url), found)
    return database.connect(url, 30, reading=True)


@pytest.fixture(scope="module")
def written() -> list[dict[str, Any]]:
    return rows(400)


@pytest.fixture(scope="module")
def engine(written: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    return log(f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.sqlite'}", written)


@pytest.fixture(scope="module")
def postgresql(server: str) -> sa.Engine:
    return english(server, rows(MANY))


def english(server: str, found: list[dict[str, Any]]) -> sa.Engine:
    """A log where texts sort as people in English sort them, as the image's do."""
    admin = database.connect(f"{server}/postgres", 20).execution_options(isolation_level="AUTOCOMMIT")
    name = f"t{uuid.uuid4().hex}"
    template = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    patient(lambda: execute(admin, f"CREATE DATABASE {name} {template}"))
    engine = log(f"{server}/{name}", found)
    execute(engine, "ANALYZE")
    return engine


def at(minute: int, second: int = 0) -> str:
    return f"{DAY}T10:{minute:02}:{second:02}.000000+00:00"


Fits = Callable[[dict[str, Any]], bool]
SEARCHES: dict[str, tuple[Search, Fits]] = {
    "everything": (Search(), lambda row: True),
    "time": (Search(since=at(0, 5), before=at(0, 30)), lambda row: at(0, 5) <= row["time"] < at(0, 30)),
    "request": (Search(request_id="same"), lambda row: row["request_id"] == "same"),
    "record": (Search(record_id="loan-3"), lambda row: row["record_id"] == "loan-3"),
    "any id": (Search(any_id="loan-3"), lambda row: row["record_id"] == "loan-3"),
    "any id that nobody has": (Search(any_id="loan-99"), lambda row: False),
    "model": (Search(model=MODELS[1]), lambda row: row["model_version"] == MODELS[1]),
    "how a model begins": (Search(model="a" * 9), lambda row: row["model_version"] == MODELS[2]),
    "band": (Search(band="high"), lambda row: row["band"] == "high"),
    "rare band": (Search(band="very high"), lambda row: row["band"] == "very high"),
    "band that nobody has": (Search(band="higher"), lambda row: False),
    "model, band, time": (
        Search(model=MODELS[0], band="low", since=at(0, 5), before=at(0, 30)),
        lambda row: (row["model_version"], row["band"]) == (MODELS[0], "low") and at(0, 5) <= row["time"] < at(0, 30),
    ),
    "record, model, band": (
        Search(record_id="loan-3", model="0", band="high"),
        lambda row: (row["record_id"], row["model_version"], row["band"]) == ("loan-3", MODELS[0], "high"),
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("size", [1, 7, 200])
def test_page_by_page_each_row_comes_once_newest_first(
    engine: sa.Engine, written: list[dict[str, Any]], name: str, size: int
) -> None:
    """As looking at every row would find them, also where a page ends among rows of one time."""
    wanted, fits = SEARCHES[name]
    found, after = [], None
    for _ in range(len(written) + 1):
        page = search.page(engine, wanted, after, size, 30)
        assert len(page.rows) <= size
        found += [row["prediction_id"] for row in page.rows]
        if page.end is None:
            break
        after = page.end
    expected = sorted(((row["time"], row["prediction_id"]) for row in written if fits(row)), reverse=True)
    assert found == [own for _, own in expected]


@pytest.mark.parametrize("name", SEARCHES)
def test_postgresql_finds_the_same_by_an_index(postgresql: sa.Engine, name: str) -> None:
    """Of many rows, page by page as far as the third; it sorts no more than the rows of one time."""
    wanted, fits = SEARCHES[name]
    expected = sorted(((row["time"], row["prediction_id"]) for row in rows(MANY) if fits(row)), reverse=True)
    found, after = [], None
    for _ in range(3):
        page = search.page(postgresql, wanted, after, 9, 30)
        found += [row["prediction_id"] for row in page.rows]
        after = page.end
        if after is None:
            break
    assert found == [own for _, own in expected[:27]]
    asked = statements(
        postgresql, lambda: search.page(postgresql, wanted, Place(*expected[-1]) if expected else None, 9, 30)
    )
    with postgresql.connect() as connection:
        steps = [row[0] for each in asked for row in connection.exec_driver_sql(f"EXPLAIN {each[0]}", each[1])]
    assert [step for step in steps if "Seq Scan" in step] == []


@pytest.mark.parametrize("band", ["low", "high", None])
def test_what_was_frequent_once_is_found_without_walking_past_the_rest(server: str, band: str | None) -> None:
    """PostgreSQL thinks that what is a quarter of the rows is a quarter everywhere, and it was long ago."""
    found = rows(MANY)
    for i, row in enumerate(found):
        row.update(
            model_version=MODELS[4 * i // MANY // 2], band="high" if i % 20 == 0 else "low", record_id=f"loan-{i}"
        )
        if 4 * i < MANY:
            row.update(model_version=MODELS[2], band=band, record_id="test", request_id="test")
    engine = english(server, found)
    for wanted in (
        Search(model=MODELS[2]),
        Search(model=MODELS[2], band=band),
        Search(record_id="test"),
        Search(any_id="test"),
    ):
        asked = statements(engine, lambda wanted=wanted: search.page(engine, wanted, None, 9, 30))  # type: ignore[misc]
        with engine.connect() as connection:
            for statement, parameters in asked:
                steps = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)]
                one = "time = " in statement or any(
                    "predictions_pkey" in step for step in steps
                )  # of one time, or by its id
                if "ORDER BY" in statement and not one:
                    assert not any("ix_predictions_time" in step or "Sort" in step for step in steps), steps


def statements(engine: sa.Engine, ask: Callable[[], object]) -> list[tuple[str, Any]]:
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return asked


def plans(engine: sa.Engine, ask: Callable[[], object]) -> list[str]:
    asked = statements(engine, ask)
    with engine.connect() as connection:
        return [
            str(step[3])
            for statement, parameters in asked
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            if not ("FOR ORDER BY" in step[3] and "time = ?" in statement)  # the rows of one time are sorted
        ]


@pytest.mark.parametrize("after", [None, Place(at(0, 20), "f" * 32)])
@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_is_by_an_index(engine: sa.Engine, name: str, after: Place | None) -> None:
    """By the one for it, and none sorts more than the rows of one time."""
    steps = plans(engine, lambda: search.page(engine, SEARCHES[name][0], after, 7, 30))
    assert steps
    assert [step for step in steps if step.startswith("SCAN") or "FOR ORDER BY" in step] == []
    wanted = {
        "request": "request_id_time",
        "record": "record_id_time",
        "model": "model_version_band_time",
        "time": "time",
        "record, model, band": "record_id_time",
    }
    if name in wanted:
        assert any(f"ix_predictions_{wanted[name]} (" in step for step in steps), steps


def test_one_prediction_is_found_by_an_index(engine: sa.Engine, written: list[dict[str, Any]]) -> None:
    """With its outcome, and what challengers said."""
    steps = plans(engine, lambda: audit.one(engine, written[0]["prediction_id"]))
    assert [step for step in steps if step.startswith("SCAN")] == []


def work(engine: sa.Engine, wanted: Search, after: Place | None) -> int:
    """The steps of SQLite's machine that a page takes, in hundreds."""
    taken = 0

    def count(*_: Any) -> int:
        nonlocal taken
        taken += 1
        return 0

    def watch(_: Any, cursor: Any, *__: Any) -> None:
        connection: sqlite3.Connection = cursor.connection
        connection.set_progress_handler(count, 100)

    sa.event.listen(engine, "before_cursor_execute", watch)
    try:
        search.page(engine, wanted, after, 7, 30)
    finally:
        sa.event.remove(engine, "before_cursor_execute", watch)
    return taken


def test_a_page_is_the_same_work_in_a_log_of_ten_times_the_size(tmp_path: Path) -> None:
    """However it is searched, at the beginning and in the middle, and also where nothing is found."""
    small, large = (log(f"sqlite:///{tmp_path / str(n)}", rows(n)) for n in (1_000, 10_000))
    for name, (wanted, _) in SEARCHES.items():
        if name == "record, model, band":
            continue  # it looks at all rows of the id
        for after in (None, Place(at(0, 50), "0" * 32)):
            assert work(large, wanted, after) <= 1.5 * work(small, wanted, after) + 5, name


def test_too_many_models_or_too_much_time_is_given_up(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said what helps."""
    with pytest.raises(search.TooWide, match="takes too long"):
        search.page(engine, Search(), None, 7, -1)
    monkeypatch.setattr(search, "MOST_WALKS", 3)
    with pytest.raises(search.TooWide, match="too many models"):
        search.page(engine, Search(model=""), None, 7, 30)


def test_what_is_erased_between_two_queries_is_not_shown(
    engine: sa.Engine, written: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has one row fewer."""
    rows_of = search._rows
    gone = written[-1]["prediction_id"]
    monkeypatch.setattr(search, "_rows", lambda c, ids: rows_of(c, [own for own in ids if own != gone]))
    page = search.page(engine, Search(), None, 200, 30)
    assert len(page.rows) == 199
    assert page.end is not None
