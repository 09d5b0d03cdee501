"""Lines that the database cannot take, or that are not what was appended: they alone are set aside, and can be replayed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from services.predictionlog import database, event, record, shipper, spool
from services.predictionlog.__main__ import main
from tests.unit.services.predictionlog.test_record import line, segment, shipped


def of_the_future(good: bytes) -> bytes:
    """A number that SQLite cannot hold."""
    return good.replace(b",3,", b",9223372036854775808,", 1)


def deep(good: bytes) -> bytes:
    return good.replace(b'"reasons":[', b'"reasons":[' + b"[" * 100_000 + b"]" * 100_000 + b",", 1)


def endless(good: bytes) -> bytes:
    """A time that is in no year."""
    return b"[2,1e300," + good.split(b",", 2)[2]


POISON: list[Callable[[bytes], bytes]] = [of_the_future, deep, endless]


@pytest.fixture
def shipping(tmp_path: Path) -> shipper.Shipper:
    return shipper.Shipper(tmp_path / "spool", f"sqlite:///{tmp_path}/log.sqlite")


@pytest.mark.attack("poison")
@pytest.mark.parametrize("harm", POISON)
def test_poison_is_set_aside_alone_and_replayed_once_it_is_mended(
    shipping: shipper.Shipper,
    tmp_path: Path,
    harm: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The rows before and after it are in, the shipper lives, and the file has that line and no other."""
    good = line(["poison"])
    writer = spool.Writer(shipping.root, 1 << 30)
    writer.append(line(["a", "b"]), harm(good), line(["c"]))
    writer.append(event.encode("e", event.SWITCH, 0.0, {}))
    writer.close()
    segment(shipping.root, line(["d"]))
    assert shipping.round()
    assert shipping.round()
    assert sorted(shipped(shipping)) == ["a", "b", "c", "d"]
    assert spool.oldest(shipping.root) is None
    (aside,) = spool.named(shipping.root, shipper.DAMAGED)
    assert [spool.content(raw) for raw in spool.raw_lines(aside)] == [harm(good)]
    assert aside.stat().st_mode & 0o077 == 0

    monkeypatch.setenv("PREDICTION_LOG_URL", shipping.url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    capsys.readouterr()
    assert main(["replay"]) == 1
    assert capsys.readouterr().out == f"{aside}: 1 lines stay\n"
    aside.write_bytes(harm(good) + good.rstrip(b"\n"))  # as an editor leaves it
    assert main(["replay", str(aside)]) == 1
    assert "poison" in shipped(shipping)
    aside.write_bytes(good)
    assert main(["replay"]) == 0
    assert capsys.readouterr().out.endswith(f"{aside}: all of it is in the log\n")
    assert not aside.exists()
    assert sorted(shipped(shipping)) == ["a", "b", "c", "d", "poison"]


def test_a_line_with_a_bit_that_flipped_is_not_logged_as_something_else(shipping: shipper.Shipper) -> None:
    """Be it JSON still, and a record of the right form."""
    writer = spool.Writer(shipping.root, 1 << 30)
    writer.append(line(["a"], {"amount": [1000.0]}), line(["b"], {"amount": [1000.0]}))
    writer.turn()
    (path,) = spool.segments(shipping.root)
    path.write_bytes(path.read_bytes().replace(b'{"amount":[1000.0]}', b'{"amount":[9000.0]}', 1))
    assert shipping.round()
    assert shipped(shipping) == ["b"]
    (aside,) = spool.named(shipping.root, shipper.DAMAGED)
    assert aside.read_bytes().count(b"\n") == 1
    writer.close()


def test_an_event_that_the_database_refuses_keeps_no_other_out(
    shipping: shipper.Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it stop the rows of its segment from being done with."""
    taken: list[str] = []

    def picky(_: sa.Engine, rows: list[dict[str, Any]]) -> None:
        if any(row["event_id"] == "bad" for row in rows):
            raise sa.exc.DataError("INSERT", {}, Exception("too long"))
        taken.extend(row["event_id"] for row in rows if row["kind"] == event.SWITCH)

    monkeypatch.setattr(shipping.chain, "insert_events", picky)
    lines = [event.encode(own, event.SWITCH, 0.0, {}) for own in ("e1", "bad", "e2")]
    segment(shipping.root, b"".join(lines) + line(["p"]))
    assert shipping.round()
    assert taken == ["e1", "e2"]
    assert shipped(shipping) == ["p"]
    (aside,) = spool.named(shipping.root, shipper.DAMAGED)
    assert aside.read_bytes() == lines[1]


def test_what_cannot_be_shipped_now_holds_up_its_own_segment_only(
    shipping: shipper.Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory for one, no right to read another: the third is shipped, the trouble named, and all come later."""
    for name in ("1", "2", "3"):
        segment(shipping.root, line([name]), name)
    decode, opened = record.decode, Path.open

    def short(content: bytes) -> record.Entry:
        if b'"1"' in content:
            raise MemoryError
        return decode(content)

    def forbidden(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "2.segment":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    with monkeypatch.context() as now:
        now.setattr(record, "decode", short)
        now.setattr(Path, "open", forbidden)
        assert not shipping.round()
        assert "Permission denied" in shipping.trouble
    assert shipped(shipping) == ["3"]
    assert shipping.round()
    assert sorted(shipped(shipping)) == ["1", "2", "3"]
    assert spool.named(shipping.root, shipper.DAMAGED) == []


class OfState(psycopg.Error):
    """As the driver makes it."""

    def __init__(self, state: str | None) -> None:
        super().__init__()
        self.sqlstate = state


def wrapped(kind: type[sa.exc.DBAPIError], error: Exception) -> sa.exc.DBAPIError:
    return kind("INSERT", {}, error)


@pytest.mark.parametrize(
    ("error", "of_values"),
    [
        (OverflowError(), True),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), True),
        (wrapped(sa.exc.DataError, psycopg.DataError("NUL")), True),
        (wrapped(sa.exc.DataError, OfState("22003")), True),
        (wrapped(sa.exc.IntegrityError, OfState("23502")), True),
        (wrapped(sa.exc.OperationalError, OfState("54000")), True),
        (wrapped(sa.exc.IntegrityError, sqlite3.IntegrityError()), True),
        (wrapped(sa.exc.ProgrammingError, sqlite3.ProgrammingError("type is not supported")), True),
        (wrapped(sa.exc.ProgrammingError, OfState("42P01")), False),
        (wrapped(sa.exc.OperationalError, OfState("53100")), False),
        (wrapped(sa.exc.OperationalError, OfState("08006")), False),
        (wrapped(sa.exc.OperationalError, OfState("40P01")), False),
        (wrapped(sa.exc.InternalError, OfState("25006")), False),
        (wrapped(sa.exc.OperationalError, sqlite3.OperationalError("no such table")), False),
        (wrapped(sa.exc.OperationalError, sqlite3.OperationalError("database or disk is full")), False),
        (wrapped(sa.exc.DatabaseError, sqlite3.DatabaseError("malformed")), False),
        (wrapped(sa.exc.OperationalError, psycopg.OperationalError("connection refused")), False),
        (sa.exc.TimeoutError(), False),
        (OSError(28, "No space left on device"), False),
        (MemoryError(), False),
    ],
)
def test_a_database_in_trouble_is_not_taken_for_a_row_that_is(error: Exception, of_values: bool) -> None:
    """No table, no room, no connection: the rows wait. A value that does not fit: its line is set aside."""
    assert database.of_values(error) is of_values


def test_a_rehearsal_gets_no_damaged_line(shipping: shipper.Shipper) -> None:
    """Nor does the challenger: both read what the shipper ships."""
    path = segment(shipping.root, b"00000000 " + line(["a"]) + line(["b"]))
    assert [json.loads(found)[6][0]["prediction_id"] for found in spool.lines(path)] == ["b"]


def test_both_databases_refuse_values_only_and_missing_tables_are_no_fault_of_the_rows(
    tmp_path: Path, url: str
) -> None:
    """A number that is too large; with PostgreSQL a NUL, which SQLite takes. Rows that find no table wait until it is there."""
    own = shipper.Shipper(tmp_path / "spool", url)
    segment(own.root, line(["a"]) + of_the_future(line(["b"])) + line(["c"]), "1")
    assert own.round()
    assert sorted(shipped(own)) == ["a", "c"]
    segment(own.root, line(["d"]) + line(["e"], id="no\x00name") + line(["f"]), "2")
    assert own.round()
    refused = ["b"] if own.engine.dialect.name == "sqlite" else ["b", "e"]
    aside = [raw for path in spool.named(own.root, shipper.DAMAGED) for raw in spool.raw_lines(path)]
    assert [json.loads(raw)[6][0]["prediction_id"] for raw in aside] == refused
    with own.engine.begin() as connection:
        database.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
    segment(own.root, line(["g"]), "3")
    own.round()
    assert own.round()
    assert shipped(own) == ["g"]
    assert len(spool.named(own.root, shipper.DAMAGED)) == len(refused)
