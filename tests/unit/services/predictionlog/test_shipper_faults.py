"""Every call of the shipper fails, to the disk and to the database: rows arrive once it is over, each once and as it was."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.predictionlog import database, shipper, spool
from services.predictionlog.chain.batch import Head
from tests.unit.services.predictionlog.failing import FailingCalls
from tests.unit.services.predictionlog.test_record import line
from tests.unit.services.predictionlog.test_spool_faults import descriptors


class Table:
    """In the place of :mod:`services.predictionlog.database`: a table in memory, whose calls fail in their turn, before or after
    the row is there."""

    HEAD = database.HEAD
    of_values = staticmethod(database.of_values)

    def __init__(self) -> None:
        self.calls: FailingCalls | None = None
        self.rows: dict[str, dict[str, Any]] = {}
        self.inserted: list[str] = []

    def connect(self, url: str) -> None:
        """Nothing to connect to."""

    def revision(self, engine: object) -> str:
        self._call()
        return self.HEAD

    def insert(self, engine: object, rows: list[dict[str, Any]]) -> None:
        self._call()
        for row in rows:
            if row["generation"] > 2**62:
                raise OverflowError
        for row in rows:
            self.rows.setdefault(row["prediction_id"], row)
        self._call()  # the connection breaks while it commits

    def insert_events(self, engine: object, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.insert(engine, rows)

    def _call(self) -> None:
        if self.calls is not None and self.calls.step():
            raise sa.exc.OperationalError("INSERT", {}, Exception("away"))


@pytest.mark.attack("full disk")
@pytest.mark.parametrize(
    ("for_good", "error"),
    [(False, errno.ENOSPC), (True, errno.ENOSPC), (True, errno.EMFILE), (True, errno.EROFS)],
)
def test_whatever_call_fails_all_rows_arrive_and_only_poison_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool, error: int, record_property: Any
) -> None:
    """Of two writers, one of which has ended; and the challenger's queue may be open. The same shipper goes on."""
    poison = line(["poison"]).replace(b",3,", b",9223372036854775808,", 1)
    fails, counted = 1, 1
    while counted >= fails - 1:
        root = tmp_path / str(fails) / "spool"
        with monkeypatch.context() as patch:
            calls = FailingCalls(patch, fails, for_good=for_good, error=error)
            table, own = Table(), shipper.Shipper(root, "sqlite://")
            own.database = table  # type: ignore[assignment]

            def insert(engine: Any, rows: list[dict[str, Any]], table: Table = table, chain: Any = own.chain) -> None:
                table.insert(engine, rows)
                chain.write(Head("a", 1, "b"))  # no disk without room keeps rows out

            own.chain.insert = insert  # type: ignore[method-assign]
            own.chain.insert_events = table.insert_events  # type: ignore[method-assign]
            own.chain.look = table.revision  # type: ignore[method-assign,assignment]
            table.calls = calls
            own.queue.open()
            ended, living = spool.Writer(root, 1 << 30), spool.Writer(root, 1 << 30)
            for number in range(3):
                living.append(line([f"a{number}", f"b{number}"]))
                living.turn()
            ended.append(line(["c"]), poison, line(["d"]))
            ended.close()
            before = descriptors()
            calls.on = True
            assert own.round() in (True, False)  # it never raises
            assert own.round() in (True, False)
            calls.on = False
            counted = calls.count
            own.round()
            assert own.round(), f"call {fails}: {own.trouble}"
            assert descriptors() == before, f"call {fails}: a descriptor is left"
            living.close()
        assert sorted(table.rows) == ["a0", "a1", "a2", "b0", "b1", "b2", "c", "d"], f"call {fails}"
        assert spool.oldest(root) is None, f"call {fails}: a segment waits"
        (aside,) = spool.named(root, shipper.DAMAGED)
        assert [spool.content(raw) for raw in spool.raw_lines(aside)] == [poison], f"call {fails}"
        assert [path.name for path in aside.parent.iterdir()] == [aside.name], f"call {fails}: something is left"
        fails += 1
    assert fails > 40
    record_property("sent", fails - 2)
