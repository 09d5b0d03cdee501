"""Walks all chains and the log, in bounded memory, and names what was changed, removed, added or reordered by hand."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.predictionlog import event
from services.predictionlog.chain import BEGUN, ERASED, LOG
from services.predictionlog.chain.batch import DIGEST, FORMAT, NONE, SALT, digest, hashed
from services.predictionlog.chain.head import published
from services.predictionlog.database import chain, events, predictions

PAGE = 8  # batches
PORTION = 1000  # rows
MOST = 1000  # findings that are named; others are counted
TRIES = 3


@dataclass(slots=True)
class Report:
    """What was found. ``findings`` are sentences, at most :data:`MOST` of ``wrong``; ``heads`` are the last batches."""

    rows: int = 0
    batches: int = 0
    erased: int = 0
    unchained: int = 0
    wrong: int = 0
    findings: list[str] = field(default_factory=list)
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, finding: str) -> None:
        """Something was changed by hand."""
        self.wrong += 1
        if len(self.findings) < MOST:
            self.findings.append(finding)


def verify(engine: sa.Engine, root: Path) -> Report:
    """Verify the whole log; ``root`` is the spool whose published head it must have too.

    An erasure meanwhile looks like rows removed by hand, so then it begins again. Raises SQLAlchemy's errors.
    """
    for _ in range(TRIES):
        before = _notes(engine)
        report = _Walk(engine, root).run()
        if not report.wrong or _notes(engine) == before:
            break
    return report


def _notes(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.max(chain.c.number)).where(chain.c.spool == LOG)) or 0


class _Walk:
    """One walk. What it must remember of each row, a number, is in a temporary file of SQLite's own."""

    def __init__(self, engine: sa.Engine, root: Path) -> None:
        self.engine = engine
        self.root = root
        self.report = Report()
        self.begun = ""  # when the chains began
        self.expected = 0  # rows from before that, which are not chained

    def run(self) -> Report:
        """Walk."""
        with contextlib.closing(sqlite3.connect("")) as self.memory:
            self.memory.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY)")
            self.memory.execute("CREATE TABLE erased (spool TEXT, number INTEGER, place INTEGER)")
            self.memory.execute("CREATE TABLE unlisted (id INTEGER, prediction_id TEXT, time TEXT)")
            self.memory.execute("CREATE INDEX ix ON erased (spool, number)")
            self._chains(chain.c.spool == LOG, self._note)
            self._chains(chain.c.spool != LOG, self._rows)
            self._others()
            known = self.report.heads
            new = sa.or_(
                chain.c.spool.not_in(list(known)),
                *(sa.and_(chain.c.spool == s, chain.c.number > n) for s, (n, _) in known.items()),
            )
            self._chains(sa.and_(new, chain.c.spool != LOG), self._rows)  # what came meanwhile
            self._unlisted()
        self._heads()
        return self.report

    def _chains(self, which: sa.ColumnElement[bool], look: Callable[[Mapping[str, Any], str], None]) -> None:
        """Walk these chains, batch by batch: each link, each hash, and with ``look`` the content."""
        for batch in self._batches(which):
            name = f"batch {batch['number']} of the chain {batch['spool']}"
            number, before = self.report.heads.get(batch["spool"], (0, NONE))
            if batch["number"] != number + 1:
                self.report.add(f"removed: batches {number + 1} to {batch['number'] - 1} of the chain {batch['spool']}")
            elif batch["previous"] != before:
                self.report.add(f"changed: {name} does not follow the one before it")
            if batch["format"] != FORMAT or hashed(batch) != batch["hash"]:
                self.report.add(f"changed: {name}: its head, or the list or the order of its rows")
            self.report.heads[batch["spool"]] = (batch["number"], batch["hash"])
            self.report.batches += 1
            try:
                look(batch, name)
            except (ValueError, TypeError, KeyError):  # not as this program writes it
                self.report.add(f"changed: {name} cannot be read")

    def _batches(self, which: sa.ColumnElement[bool]) -> Iterator[dict[str, Any]]:
        last: tuple[str, int] | None = None
        query = sa.select(chain).where(which).order_by(chain.c.spool, chain.c.number).limit(PAGE)
        while True:
            after = sa.true() if last is None else _after(*last)
            with self.engine.connect() as connection:
                page = [dict(row) for row in connection.execute(query.where(after)).mappings()]
            if not page:
                return
            last = (page[-1]["spool"], page[-1]["number"])
            yield from page

    def _note(self, batch: Mapping[str, Any], name: str) -> None:
        if hashlib.sha256(batch["ids"].encode()).digest() != batch["digests"]:
            self.report.add(f"changed: what {name} says")
        content = json.loads(batch["ids"])
        if batch["kind"] == BEGUN:
            self.begun, self.expected = batch["time"], content["unchained"]
        elif batch["kind"] == ERASED:
            self.expected -= content["unchained"]
            places = ((spool, number, place) for spool, number, found in content["erased"] for place in found)
            self.memory.executemany("INSERT INTO erased VALUES (?, ?, ?)", places)

    def _rows(self, batch: Mapping[str, Any], name: str) -> None:
        """Each row of a batch: as its digest says, or a tombstone of a recorded erasure."""
        ids: list[str | None] = json.loads(batch["ids"])
        if not len(ids) == len(batch["salts"]) // SALT == len(batch["digests"]) // DIGEST == batch["rows"]:
            raise ValueError("the lists differ in length")
        which = "SELECT place FROM erased WHERE spool = ? AND number = ?"
        erased = {place for (place,) in self.memory.execute(which, (batch["spool"], batch["number"]))}
        wrong: dict[int, Mapping[str, Any]] = {}
        there = [(place, own) for place, own in enumerate(ids) if own is not None]
        for place in sorted({place for place, own in enumerate(ids) if own is None} ^ erased):
            self.report.add(
                f"changed: row {place + 1} of {name} is erased there and not in the record of erasures, or the reverse"
            )
        self.report.erased += len(ids) - len(there)
        for at in range(0, len(there), PORTION):
            some = there[at : at + PORTION]
            found = self._found([own for _, own in some])
            for place, own in some:
                if own not in found:
                    self.report.add(f"removed: the prediction {own} (row {place + 1} of {name})")
                elif not _fits(batch, place, found[own]):
                    wrong[place] = found[own]
            self.report.rows += len(found)
            self.memory.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(_number(own),) for _, own in some])
        for place, row in wrong.items():
            other = next((o for o in list(wrong)[:PORTION] if o != place and _fits(batch, o, row)), None)
            how = "changed" if other is None else "reordered"
            self.report.add(f"{how}: the prediction {row['prediction_id']} (row {place + 1} of {name})")

    def _found(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        with self.engine.connect() as connection:
            query = sa.select(predictions).where(predictions.c.prediction_id.in_(ids))
            return {row["prediction_id"]: dict(row) for row in connection.execute(query).mappings()}

    def _others(self) -> None:
        """The predictions that no batch lists: from before the chains, and added by hand."""
        own, last = predictions.c.prediction_id, ""
        query = sa.select(own, predictions.c.time).order_by(own).limit(PORTION)
        while True:
            with self.engine.connect() as connection:
                page = list(connection.execute(query.where(own > last) if last else query))
            if not page:
                break
            last = page[-1][0]
            known = self._seen([identity for identity, _ in page])
            others = [(_number(own), own, time) for own, time in page if _number(own) not in known]
            self.memory.executemany("INSERT INTO unlisted VALUES (?, ?, ?)", others)

    def _unlisted(self) -> None:
        if not self.begun:
            self.report.add("removed: the record of when the chains began")
        query = "SELECT prediction_id, time FROM unlisted WHERE id NOT IN (SELECT id FROM seen) ORDER BY time"
        for identity, time in self.memory.execute(query):
            if time < self.begun:
                self.report.unchained += 1
            else:
                self.report.add(f"added: the prediction {identity}, which no batch lists")
        if self.report.unchained != self.expected:
            self.report.add(
                f"changed: {self.report.unchained} predictions from before the chains began are there,"
                f" and {self.expected} should be"
            )

    def _seen(self, ids: Sequence[str]) -> set[int]:
        numbers = [_number(identity) for identity in ids]
        marks = ",".join("?" * len(numbers))
        return {one for (one,) in self.memory.execute(f"SELECT id FROM seen WHERE id IN ({marks})", numbers)}

    def _heads(self) -> None:
        """The heads that were published are in the chains: in the events, and in the shipper's file."""
        heads = [published(self.root)]
        query = sa.select(events.c.id, events.c.detail).where(events.c.kind.in_((event.CHAIN, event.ERASURE)))
        query, last = query.order_by(events.c.id).limit(PORTION), -1
        while heads:
            with self.engine.connect() as connection:
                for head in filter(None, heads):
                    which = sa.and_(chain.c.spool == head["spool"], chain.c.number == head["number"])
                    if connection.scalar(sa.select(chain.c.hash).where(which)) != head["hash"]:
                        self.report.add(
                            f"changed: batch {head['number']} of the chain {head['spool']}"
                            f" is not there with the hash that was published, {head['hash']}"
                        )
                page = list(connection.execute(query.where(events.c.id > last)))
            details = [(row.id, json.loads(row.detail)) for row in page]
            heads = [
                detail.get("chain", detail) if "chain" in detail or "spool" in detail else None for _, detail in details
            ]
            last = details[-1][0] if details else last


def _after(name: str, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(chain.c.spool >= name, sa.or_(chain.c.spool > name, chain.c.number > number))


def _fits(batch: Mapping[str, Any], place: int, row: Mapping[str, Any]) -> bool:
    salt = batch["salts"][place * SALT : (place + 1) * SALT]
    return bool(digest(salt, row) == batch["digests"][place * DIGEST : (place + 1) * DIGEST])


def _number(identity: str) -> int:
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big", signed=True)
