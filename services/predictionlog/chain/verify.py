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
from services.predictionlog.chain import BEGUN, CORRECTED, ERASED, EVENTS, EXTENDED, LOG, OUTCOMES, ROWS
from services.predictionlog.chain.batch import DIGEST, FORMAT, NONE, SALT, digest, hash_of, hashed
from services.predictionlog.chain.head import heads, published
from services.predictionlog.chain.tables import TABLES, Chained
from services.predictionlog.database import chain, events

PAGE = 8  # batches
PORTION = 1000  # rows
MOST = 1000  # findings that are named; others are counted
TRIES = 3


@dataclass(slots=True)
class Count:
    """The rows of one table. ``unchained`` are from before ``begun``, when their chains began; ``expected`` of these should be
    there. A corrected row has left its place for another one."""

    rows: int = 0
    erased: int = 0
    corrected: int = 0
    unchained: int = 0
    expected: int = 0
    begun: str = ""


@dataclass(slots=True)
class Report:
    """What was found. ``findings`` are sentences, at most :data:`MOST` of ``wrong``; ``heads`` are the last batches, and
    ``counts`` are by the kind of a batch."""

    batches: int = 0
    wrong: int = 0
    counts: dict[str, Count] = field(default_factory=lambda: {kind: Count() for kind in TABLES})
    findings: list[str] = field(default_factory=list)
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, finding: str) -> None:
        """Something was changed by hand."""
        self.wrong += 1
        if len(self.findings) < MOST:
            self.findings.append(finding)


def verify(engine: sa.Engine, root: Path) -> Report:
    """Verify the whole log; ``root`` is the spool whose published head it must have too.

    An erasure or a correction meanwhile looks like a change by hand, so then it begins again. Raises SQLAlchemy's errors.
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

    def run(self) -> Report:
        """Walk."""
        with contextlib.closing(sqlite3.connect("")) as self.memory:
            self.memory.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY)")
            self.memory.execute("CREATE TABLE erased (spool TEXT, number INTEGER, place INTEGER)")
            self.memory.execute("CREATE TABLE unlisted (id INTEGER, kind TEXT, name TEXT, time TEXT)")
            self.memory.execute("CREATE INDEX ix ON erased (spool, number)")
            self._chains(chain.c.spool == LOG, self._note)
            self._chains(chain.c.spool != LOG, self._rows)
            for chained in TABLES.values():
                self._others(chained)
            known = self.report.heads
            new = sa.or_(
                chain.c.spool.not_in(list(known)),
                *(sa.and_(chain.c.spool == s, chain.c.number > n) for s, (n, _) in known.items()),
            )
            self._chains(sa.and_(new, chain.c.spool != LOG), self._rows)  # what came meanwhile
            for chained in TABLES.values():
                self._unlisted(chained)
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
            except (ValueError, TypeError, KeyError, RecursionError):  # not as this program writes it
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
        content, counts = json.loads(batch["ids"]), self.report.counts
        if batch["kind"] == BEGUN:
            counts[ROWS].begun, counts[ROWS].expected = batch["time"], content["unchained"]
        elif batch["kind"] == EXTENDED:
            for kind in (EVENTS, OUTCOMES):
                counts[kind].begun, counts[kind].expected = batch["time"], content[kind]
        elif batch["kind"] in (ERASED, CORRECTED):
            counts[ROWS].expected -= content.get("unchained", 0)
            counts[OUTCOMES].expected -= content.get("outcomes", 0)
            places = [(spool, number, place) for spool, number, found in content["erased"] for place in found]
            self.memory.executemany("INSERT INTO erased VALUES (?, ?, ?)", places)
            if batch["kind"] == CORRECTED:
                counts[OUTCOMES].corrected += 1
                counts[OUTCOMES].erased -= len(places)

    def _rows(self, batch: Mapping[str, Any], name: str) -> None:
        """Each row of a batch: as its digest says, or a tombstone of a recorded erasure or correction."""
        ids: list[str | None] = json.loads(batch["ids"])
        if not len(ids) == len(batch["salts"]) // SALT == len(batch["digests"]) // DIGEST == batch["rows"]:
            raise ValueError("the lists differ in length")
        if not all(own is None or isinstance(own, str) for own in ids):
            raise TypeError("an id is a text")
        chained, count = TABLES[batch["kind"]], self.report.counts[batch["kind"]]
        which = "SELECT place FROM erased WHERE spool = ? AND number = ?"
        erased = {place for (place,) in self.memory.execute(which, (batch["spool"], batch["number"]))}
        wrong: dict[int, Mapping[str, Any]] = {}
        there = [(place, own) for place, own in enumerate(ids) if own is not None]
        for place in sorted({place for place, own in enumerate(ids) if own is None} ^ erased):
            self.report.add(
                f"changed: row {place + 1} of {name} is erased there and not in the record of erasures, or the reverse"
            )
        count.erased += len(ids) - len(there)
        for at in range(0, len(there), PORTION):
            some = there[at : at + PORTION]
            found = self._found(chained, [own for _, own in some])
            for place, own in some:
                if own not in found:
                    self.report.add(f"removed: {chained.one} {own} (row {place + 1} of {name})")
                elif not _fits(batch, place, found[own]):
                    wrong[place] = found[own]
            count.rows += len(found)
            numbers = [(_number(chained, own),) for _, own in some]
            self.memory.executemany("INSERT OR IGNORE INTO seen VALUES (?)", numbers)
        for place, row in wrong.items():
            other = next((o for o in list(wrong)[:PORTION] if o != place and _fits(batch, o, row)), None)
            how = "changed" if other is None else "reordered"
            self.report.add(f"{how}: {chained.one} {row[chained.key]} (row {place + 1} of {name})")

    def _found(self, chained: Chained, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        with self.engine.connect() as connection:
            query = sa.select(chained.table).where(chained.table.c[chained.key].in_(ids))
            return {row[chained.key]: dict(row) for row in connection.execute(query).mappings()}

    def _others(self, chained: Chained) -> None:
        """The rows that no batch lists: from before the chains, and added by hand."""
        position, last = chained.table.c[chained.position], None
        query = (
            sa.select(position, chained.table.c[chained.key], chained.table.c.time).order_by(position).limit(PORTION)
        )
        while True:
            with self.engine.connect() as connection:
                page = list(connection.execute(query if last is None else query.where(position > last)))
            if not page:
                break
            last = page[-1][0]
            rows = [(own or f"with the number {at}, which has no id", time) for at, own, time in page]
            numbered = [(_number(chained, name), chained.kind, name, time) for name, time in rows]
            known = self._seen([row[0] for row in numbered])
            others = [row for row in numbered if row[0] not in known]
            self.memory.executemany("INSERT INTO unlisted VALUES (?, ?, ?, ?)", others)

    def _unlisted(self, chained: Chained) -> None:
        count = self.report.counts[chained.kind]
        if not count.begun:
            self.report.add(f"removed: the record of when the chains of {chained.many} began")
        query = "SELECT name, time FROM unlisted WHERE kind = ? AND id NOT IN (SELECT id FROM seen) ORDER BY time"
        for name, time in self.memory.execute(query, (chained.kind,)):
            if time < count.begun:
                count.unchained += 1
            else:
                self.report.add(f"added: {chained.one} {name}, which no batch lists")
        if count.unchained != count.expected:
            self.report.add(
                f"changed: {count.unchained} {chained.many} from before the chains began are there,"
                f" and {count.expected} should be"
            )

    def _seen(self, numbers: Sequence[int]) -> set[int]:
        marks = ",".join("?" * len(numbers))
        return {one for (one,) in self.memory.execute(f"SELECT id FROM seen WHERE id IN ({marks})", numbers)}

    def _heads(self) -> None:
        """The heads that were published are in the chains: in the events, and in the shipper's file."""
        self._published([published(self.root)])
        query = sa.select(events.c.id, events.c.detail).where(events.c.kind.in_((event.CHAIN, event.ERASURE)))
        query, last = query.order_by(events.c.id).limit(PORTION), -1
        while True:
            with self.engine.connect() as connection:
                page = list(connection.execute(query.where(events.c.id > last)))
            if not page:
                break
            last = page[-1].id
            self._published([_parsed(row.detail) for row in page])

    def _published(self, said: Sequence[Any]) -> None:
        with self.engine.connect() as connection:
            for head in (head for one in said for head in heads(one)):
                if hash_of(connection, head["spool"], head["number"]) != head["hash"]:
                    self.report.add(
                        f"changed: batch {head['number']} of the chain {head['spool']}"
                        f" is not there with the hash that was published, {head['hash']}"
                    )


def _after(name: str, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(chain.c.spool >= name, sa.or_(chain.c.spool > name, chain.c.number > number))


def _fits(batch: Mapping[str, Any], place: int, row: Mapping[str, Any]) -> bool:
    salt = batch["salts"][place * SALT : (place + 1) * SALT]
    return bool(digest(TABLES[batch["kind"]], salt, row) == batch["digests"][place * DIGEST : (place + 1) * DIGEST])


def _number(chained: Chained, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{chained.kind} {name}".encode()).digest()[:8], "big", signed=True)


def _parsed(detail: str) -> Any:
    """What an event says; None where somebody changed it into no JSON, which is found by its digest."""
    try:
        return json.loads(detail)
    except (ValueError, RecursionError):
        return None
