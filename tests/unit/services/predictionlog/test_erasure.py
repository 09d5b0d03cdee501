"""What is erased is gone for good: from the database, from what arrives later, and from every file of DATA_DIR."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from services.predictionlog import audit, database, erasure, event, record, spool
from services.predictionlog.__main__ import main
from services.predictionlog.challenger_queue import Queue
from services.predictionlog.shipper import DAMAGED, Shipper

NAME = "Zaphod-Beeblebrox"


def line(*own: str, key: str | None = None, at: float = 1000.0, request: str = "r", inputs: str = NAME) -> bytes:
    """A line of the spool, with a row for each id."""
    answers = [
        {
            "prediction_id": f"{i}-{key}-{at}",
            "model_version": "a" * 64,
            "id": i,
            "predict_proba": [0.9, 0.1],
            "band": None,
            "reasons": [],
            "warnings": [],
        }
        for i in own
    ]
    columns = {"purpose": [inputs if i == "loan-17" else "boat" for i in own], "amount": [1.5] * len(own)}
    raw = msgspec.Raw(msgspec.json.encode(answers))
    return record.encode(record.Line(record.FORMAT, at, 1, request, key, columns, raw))


class Place:
    """A DATA_DIR with a spool, whose shipper works when it is told to."""

    def __init__(self, root: Path, url: str) -> None:
        self.data, self.url = root / "data", url
        self.spool = self.data / "spool"
        self.writer = spool.Writer(self.spool, 1 << 20)

    def append(self, *lines: bytes) -> None:
        self.writer.append(*lines)
        self.writer.turn()

    def ship(self) -> None:
        self.writer.turn()
        assert Shipper(self.spool, self.url).round()

    def erase(self, *options: str) -> int:
        return main(["erase", *options, "--wait", "0"])

    def rows(self) -> set[tuple[str | None, str | None]]:
        table = database.predictions
        with database.connect(self.url).connect() as connection:
            return {*map(tuple, connection.execute(sa.select(table.c.record_id, table.c.key_name)))}

    def ids(self) -> set[str | None]:
        return {own for own, _ in self.rows()}


@pytest.fixture
def place(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PREDICTION_LOG_URL", url)
    database.migrate(database.connect(url))
    own = Place(tmp_path, url)
    yield own
    own.writer.close()


@pytest.mark.attack("erasure")
@pytest.mark.parametrize("by", ["record", "request", "before"])
def test_a_row_that_waits_does_not_come_later(place: Place, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipper is paused: the command says that it is not done. Then the row is not in the log, and the others are."""
    place.append(line("loan-17", "loan-18", request="mine"), line("loan-19", at=2e9))
    if by == "record":
        options, left = ["--record-id", "loan-17"], {"loan-18", "loan-19"}
    elif by == "request":
        options, left = ["--request-id", "mine"], {"loan-19"}
    else:
        options, left = ["--before", "2001-01-01"], {"loan-19"}
    assert place.erase(*options) == 1
    said = capsys.readouterr()
    assert said.out.startswith("0 predictions were erased, which is recorded")
    assert "not done: older segments of the spool wait" in said.err
    place.ship()
    assert place.ids() == left
    assert place.erase(*options) == 0
    assert capsys.readouterr().err == ""
    assert place.ids() == left


def test_what_is_predicted_later_is_logged(place: Place) -> None:
    """The caller's id is erased up to now: a new loan may have it. A day that is not over ends now."""
    now = time.time()
    place.append(line("loan-17", at=now - 60))
    place.ship()
    assert place.erase("--record-id", "loan-17") == 0
    assert place.erase("--before", "2999-01-01") == 0
    assert place.ids() == set()
    place.append(line("loan-17", at=now - 30), line("loan-17", "loan-20", at=now + 60))
    place.ship()
    assert place.ids() == {"loan-17", "loan-20"}
    assert len(audit.find(database.connect(place.url), "loan-17")) == 1


def test_an_erasure_and_an_insert_at_the_same_time(place: Place) -> None:
    """Rows that are being inserted are waited for, and erased too."""
    place.ship()
    engine = database.connect(place.url)
    rows = [row for one in (line("loan-17"), line("loan-18")) for row in record.decode(one).rows()]
    wanted = erasure.Erasure(database.RECORD, "loan-17", "2999-01-01T00:00:00.000000+00:00")
    gone: list[int] = []
    eraser = threading.Thread(target=lambda: gone.append(erasure.erase(engine, wanted, "ann")))
    with engine.begin() as connection:
        database.insert_rows(connection, rows)
        eraser.start()
        time.sleep(0.5)
        assert gone == []
    eraser.join(30)
    assert (gone, place.ids()) == ([1], {"loan-18"})


@pytest.mark.attack("erasure")
def test_damaged_segments_and_the_challengers_queue_are_searched(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of others stay, as they were; a line that cannot be read goes where it has the id, and is said where it has not."""
    torn = line("loan-17")[20:]
    other = line("loan-18", "loan-19")
    strange = line("loan-18").replace(b"1.5", b"123456789012345678901234567890")
    happened = event.encode("e", event.SWITCH, 0.0, {})
    both = line("loan-18", "loan-17")
    older = [line("loan-17"), other]  # lines without a checksum
    whole = [spool.checksum(one) + one for one in (both, strange, happened)]
    changed = b"00000000 " + both
    damaged = place.writer.directory / f"9{DAMAGED}"
    damaged.write_bytes(b"".join([changed, *older, *whole, torn, b"\xff?\n"]))
    place.append(line("loan-18", "loan-19"))
    place.ship()
    queue = Queue.of_spool(place.spool)
    queue.open()
    (queue.directory / "1.segment").write_bytes(line("loan-17"))
    assert place.erase("--record-id", "loan-17") == 1
    said = capsys.readouterr()
    assert "5 rows were erased from damaged segments and from the challenger's queue" in said.out
    assert f"not done: 1 damaged lines cannot be read and may hold such rows: look at {damaged}" in said.err
    left = damaged.read_bytes()
    assert NAME.encode() not in left
    first, second, third, *rest = left.splitlines(keepends=True)
    assert [first[: spool.CHECKSUM], second, rest] == [b"00000000 ", other, [*whole[1:], b"\xff?\n"]]
    for found in (first[spool.CHECKSUM :], spool.content(third)):
        assert [answer.id for answer in record.decode(found).answers] == ["loan-18"]
    assert (queue.directory / "1.segment").read_bytes() == b""
    assert place.ids() == {"loan-18", "loan-19"}
    damaged.unlink()
    assert place.erase("--record-id", "loan-17") == 0


def test_a_line_whose_checksum_does_not_fit_may_be_anybodys(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A bit of its id may have changed: a person looks at it."""
    place.append(line("loan-18"))
    (path,) = spool.segments(place.spool)
    path.write_bytes(path.read_bytes().replace(b"loan-18", b"loan-19"))
    place.ship()
    assert place.erase("--record-id", "loan-17") == 1
    assert "not done: 1 damaged lines cannot be read" in capsys.readouterr().err


def test_a_copy_that_is_replayed_later_brings_nothing_back(place: Place, tmp_path: Path) -> None:
    """What is replayed consults the erasures like what is shipped."""
    place.append(b"torn\n", line("loan-17", "loan-18"))
    place.ship()
    (damaged,) = spool.named(place.spool, DAMAGED)
    copy = tmp_path / "copy.damaged"
    copy.write_bytes(line("loan-17", "loan-18"))
    damaged.unlink()
    assert place.erase("--record-id", "loan-17") == 0
    assert main(["replay", str(copy)]) == 0
    assert place.ids() == {"loan-18"}


def test_a_day_takes_what_cannot_be_read_too(place: Place) -> None:
    """A damaged segment that was last written before the day holds nothing younger."""
    place.append(b"torn\n", line("loan-17"))
    place.ship()
    (damaged,) = spool.named(place.spool, DAMAGED)
    assert place.erase("--before", "2001-01-01") == 1
    assert [spool.content(raw) for raw in spool.raw_lines(damaged)] == [b"torn\n"]
    assert place.erase("--before", "2999-01-01") == 0
    assert not damaged.exists()


@pytest.mark.attack("erasure")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_file_of_the_directory_has_a_byte_of_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor a free page of the database, also where an earlier version deleted without overwriting."""
    place.append(
        *(line("loan-17", f"loan-{i}", at=float(i), inputs=NAME * 50) for i in range(100, 160)), line("loan-1")
    )
    place.ship()
    with sqlite3.connect(place.data / "predictions.sqlite") as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM predictions WHERE record_id = 'loan-17' AND time < '1970-01-01T00:02:10'")

    def found() -> list[str]:
        return [p.name for p in place.data.rglob("*") if p.is_file() and NAME.encode() in p.read_bytes()]

    assert found() == ["predictions.sqlite"]
    assert place.erase("--record-id", "loan-17") == 0
    assert capsys.readouterr().out.startswith("30 predictions were erased")
    assert found() == []
    assert len(place.ids()) == 61


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_is_deleted_is_overwritten_at_once(place: Place) -> None:
    """Also by a connection that does no more than that, and where the file cannot be written anew: it says so then."""
    place.append(line("loan-17", inputs=NAME * 500), line("loan-18"))
    place.ship()
    path = place.data / "predictions.sqlite"
    engine = database.connect(place.url)
    assert audit.erase(engine, database.predictions.c.record_id == "loan-17", {}) == 1
    assert NAME.encode() not in path.read_bytes()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_file_that_others_use_is_not_done(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows are erased; the file is written anew by the next run."""
    place.append(line("loan-17"))
    place.ship()
    monkeypatch.setattr(erasure, "PATIENCE", 0)
    vacuum = erasure.vacuum
    path = place.data / "predictions.sqlite"

    def used(engine: sa.Engine) -> str:
        with sqlite3.connect(path, isolation_level=None) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM events").fetchone()
            return vacuum(engine)

    monkeypatch.setattr(erasure, "vacuum", used)
    assert place.erase("--record-id", "loan-17") == 1
    assert "not done: the database's file cannot be written anew" in capsys.readouterr().err
    monkeypatch.setattr(erasure, "vacuum", vacuum)
    assert place.erase("--record-id", "loan-17") == 0


@pytest.mark.attack("callers")
@pytest.mark.parametrize("waiting", [False, True])
def test_an_id_that_two_callers_use_is_erased_of_one(
    place: Place, waiting: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is erased before it is said of whom, also where the other's row still waits; another's later row arrives."""
    place.append(line("loan-17", key="desk"))
    place.ship()
    place.append(line("loan-17", key="shop"), line("loan-17"))
    if not waiting:
        place.ship()
    assert place.erase("--record-id", "loan-17") == 1
    assert "(desk, no key, shop): add --key NAME, or --every-key" in capsys.readouterr().err
    assert place.erase("--record-id", "loan-17", "--key", "desk") == int(waiting)
    place.append(line("loan-17", key="desk", at=1001.0), line("loan-17", key="shop", at=1001.0))
    place.ship()
    assert place.rows() == {("loan-17", "shop"), ("loan-17", None)}
    assert place.erase("--record-id", "loan-17", "--every-key") == 0
    place.append(line("loan-17", at=1002.0))
    place.ship()
    assert place.rows() == set()
    with pytest.raises(SystemExit):
        place.erase("--before", "2026-01-01", "--key", "desk")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_before_the_first_row_was_shipped(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no database yet, and a row waits for it. Without a spool there is nothing to erase from."""
    (place.data / "predictions.sqlite").unlink()
    place.append(line("loan-17"))
    assert place.erase("--record-id", "loan-17") == 1
    place.ship()
    assert place.ids() == set()
    with database.connect(place.url).connect() as connection:
        (detail,) = connection.execute(sa.select(database.events.c.detail)).scalars()
    assert json.loads(detail)["record_id"] == "loan-17"


def test_without_a_log_there_is_nothing_to_erase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("PREDICTION_LOG_URL", raising=False)
    assert main(["erase", "--record-id", "x"]) == 1
    assert capsys.readouterr().err == "erase: there is no prediction log yet\n"
