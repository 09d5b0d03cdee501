"""The shipper's side of a chain: rows and their batch in one transaction, and the published head."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from modelbundle.durable import Disk
from services.predictionlog import database, event
from services.predictionlog.chain.batch import Head, append
from services.predictionlog.chain.head import FILE, published
from services.web import json_logging
from services.web.timestamps import iso

EVERY = 60.0  # seconds between events
TRIES = 5
PORTION = 1000  # ids in one statement


class Chain:
    """The chain of the spool below ``root``. Its name is in the file of its head; without that file, another chain begins."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spool: str = (published(root) or {}).get("spool") or uuid.uuid4().hex
        self.head: Head | None = None  # what was appended last, until an event says so
        self._said = -EVERY

    def insert(self, engine: sa.Engine, rows: list[dict[str, Any]]) -> None:
        """Insert the rows that are new and that nobody has erased, and their batch, in one transaction."""
        with engine.begin() as connection:
            new = _new(connection, rows)
            head = append(connection, self.spool, new) if new else None
        if head is None:
            return
        self.head = head
        self.write(head)
        if time.monotonic() - self._said > EVERY:
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # the rows are there: the next batch says it
                self.publish(engine)

    def write(self, head: Head) -> None:
        """Write the file that probes read."""
        facts = {"spool": head.spool, "number": head.number, "hash": head.hash, "time": iso(time.time())}
        with contextlib.suppress(OSError):  # a full disk: the next batch tries again
            Disk().write_file(self.root / FILE, json.dumps(facts).encode())

    def publish(self, engine: sa.Engine) -> None:
        """Say in the events, and in the service's own log, which head is the last."""
        if self.head is None:
            return
        facts = {"spool": self.head.spool, "number": self.head.number, "hash": self.head.hash}
        own = event.identity(event.CHAIN, *facts.values())
        row = {"event_id": own, "time": iso(time.time()), "kind": event.CHAIN, "detail": json.dumps(facts)}
        database.insert_events(engine, [row])
        json_logging.emit("chain head", "info", **facts)
        self.head, self._said = None, time.monotonic()


def _new(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Insert the rows that are new and that nobody has erased; returns them."""
    rows = database.not_erased(connection, rows) if rows else rows
    for _ in range(TRIES):
        if not rows:
            return rows
        point = connection.begin_nested()
        if database.put(connection, rows) == len(rows):  # as nearly always
            point.commit()
            return rows
        point.rollback()
        first = {row["prediction_id"]: row for row in reversed(rows)}
        known = _known(connection, list(first))
        rows = [row for own, row in reversed(first.items()) if own not in known]
    raise sa.exc.OperationalError("insert", None, RuntimeError("others insert the same rows all the time"))


def _known(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    own, found = database.predictions.c.prediction_id, set[str]()
    for at in range(0, len(ids), PORTION):
        found |= set(connection.execute(sa.select(own).where(own.in_(ids[at : at + PORTION]))).scalars())
    return found
