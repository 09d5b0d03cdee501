"""The shipper's side of a chain: rows and their batch in one transaction, and the published head."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from modelbundle.durable import Disk
from services.predictionlog import database, event
from services.predictionlog.chain import DIRECT, LOG
from services.predictionlog.chain.batch import Head, hash_of, insert, last
from services.predictionlog.chain.head import FILE, FORM, heads, published
from services.predictionlog.chain.tables import EVENTS, PREDICTIONS, Chained
from services.web import json_logging
from services.web.timestamps import iso

EVERY = 60.0  # seconds between events


class Chain:
    """The chain of the spool below ``root``. Its name is in the file of its head; without that file, another chain begins."""

    def __init__(self, root: Path) -> None:
        self.root = root
        known = published(root)
        self.spool: str = (known or {}).get("spool") or uuid.uuid4().hex
        self.head: Head | None = None  # what was appended last, until an event says so
        # of the chains that no spool has, as they were last seen
        self.others = [
            Head(**{name: one[name] for name in FORM}) for one in heads(known) if one["spool"] in (LOG, DIRECT)
        ]
        self._said = -EVERY
        self._told: dict[str, Head] = {}

    def insert(self, engine: sa.Engine, rows: list[dict[str, Any]]) -> None:
        """Insert the predictions that are new and that nobody has erased, and their batch, in one transaction."""
        self._insert(engine, PREDICTIONS, rows)
        if self.head and time.monotonic() - self._said > EVERY:
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # the rows are there: the next batch says it
                self.publish(engine)

    def insert_events(self, engine: sa.Engine, rows: list[dict[str, Any]]) -> None:
        """Insert the events that are new, and their batch, in one transaction."""
        self._insert(engine, EVENTS, rows)

    def _insert(self, engine: sa.Engine, chained: Chained, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        with engine.begin() as connection:
            left = database.not_erased(connection, rows) if chained is PREDICTIONS else rows
            head = insert(connection, self.spool, chained, left)
        if head is not None:
            self.head = head
            self.write(head)

    def look(self, engine: sa.Engine) -> None:
        """Write down what others appended to the chains that no spool has, where that is new; raises SQLAlchemy's errors.

        The service's own log says where a batch is gone that was there before.
        """
        known = published(self.root)
        own = next(heads(known), None)
        if known is None or own is None:
            return
        with engine.connect() as connection:
            for head in self.others:
                if hash_of(connection, head.spool, head.number) != head.hash:
                    json_logging.emit("chain head gone", "error", **asdict(head))
            self.others = _others(connection)
        if [asdict(other) for other in self.others] != known.get("others"):
            self.write(Head(own["spool"], own["number"], own["hash"]))
        self._tell(self.head, *self.others)

    def write(self, head: Head) -> None:
        """Write the file that probes read."""
        facts = {**asdict(head), "time": iso(time.time()), "others": [asdict(other) for other in self.others]}
        with contextlib.suppress(OSError):  # a full disk: the next batch tries again
            Disk().write_file(self.root / FILE, json.dumps(facts).encode())

    def publish(self, engine: sa.Engine) -> None:
        """Say in the events, and in the service's own log, which head is the last."""
        if self.head is None:
            return
        facts = asdict(self.head)
        own = event.identity(event.CHAIN, *facts.values())
        row = {"event_id": own, "time": iso(time.time()), "kind": event.CHAIN, "detail": json.dumps(facts)}
        with engine.begin() as connection:
            insert(connection, DIRECT, EVENTS, [row])
            self.others = _others(connection)
        self.write(self.head)
        self._tell(self.head, *self.others)
        self.head, self._said = None, time.monotonic()

    def _tell(self, *heads: Head | None) -> None:
        """Say in the service's own log which heads are new."""
        for head in heads:
            if head and self._told.get(head.spool) != head:
                json_logging.emit("chain head", "info", **asdict(head))
                self._told[head.spool] = head


def _others(connection: sa.Connection) -> list[Head]:
    """The heads of the chains that no spool has."""
    return [head for name in (LOG, DIRECT) if (head := last(connection, name))]
