"""One batch of a chain: how its rows are inserted with it, and how it is hashed and appended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from services.predictionlog import database
from services.predictionlog.chain import LOG
from services.predictionlog.chain.tables import Chained
from services.predictionlog.database import chain
from services.web import timestamps

FORMAT = 1
SALT, DIGEST = 16, 32  # bytes
NONE = "0" * 64  # the hash before the first batch
TRIES = 5
PORTION = 1000  # ids in one statement
_encoder = msgspec.json.Encoder()
# Made once: SQLAlchemy's own work on a statement costs as much as the database.
_LAST = sa.text("SELECT number, hash FROM chain WHERE spool = :spool ORDER BY number DESC LIMIT 1")
_INSERT = sa.insert(chain)
_LOCK = sa.text("SELECT pg_advisory_xact_lock(7210593, hashtext(:spool))")
_REVISION = sa.text("SELECT version_num FROM alembic_version")


@dataclass(frozen=True, slots=True)
class Head:
    """The last batch of a chain."""

    spool: str
    number: int
    hash: str


def digest(chained: Chained, salt: bytes, row: Mapping[str, Any]) -> bytes:
    """What stands for a row, as the database has it."""
    return next(_digests(chained, [salt], [row]))


def _digests(chained: Chained, salts: Iterable[bytes], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    sha256, encode, values = (
        hashlib.sha256,
        _encoder.encode,
        chained.values,
    )  # looked up once: the shipper has many rows
    return (sha256(salt + encode(values(row))).digest() for salt, row in zip(salts, rows, strict=True))


def hashed(batch: Mapping[str, Any]) -> str:
    """The hash of a batch, a row of the table ``chain``."""
    names = ("format", "spool", "number", "previous", "kind", "time", "rows", "oldest", "newest")
    head = _encoder.encode([batch[name] for name in names])
    return hashlib.sha256(head + b"\n" + batch["digests"]).hexdigest()


def last(connection: sa.Connection, spool: str) -> Head | None:
    """The head of a chain; None where it has no batch."""
    found = connection.execute(_LAST, {"spool": spool}).one_or_none()
    return Head(spool, *found) if found else None


def hash_of(connection: sa.Connection, spool: str, number: int) -> str | None:
    """The hash of a batch, as the database has it; None where there is none."""
    found: str | None = connection.scalar(
        sa.select(chain.c.hash).where(chain.c.spool == spool, chain.c.number == number)
    )
    return found


def insert(connection: sa.Connection, spool: str, chained: Chained, rows: Sequence[Mapping[str, Any]]) -> Head | None:
    """Insert the rows that are new, and a batch for them; returns it, where there is one."""
    new = _new(connection, chained, rows)
    return append(connection, spool, chained, new) if new else None


def append(connection: sa.Connection, spool: str, chained: Chained, rows: Sequence[Mapping[str, Any]]) -> Head | None:
    """Append a batch for rows that this transaction has inserted.

    Before the migration from which on such rows are chained, nothing is appended and None is returned: the migration counts
    the rows that are there, these among them. It waits for transactions that have inserted, and those that insert wait for it.
    """
    if chained.since and (connection.scalar(_REVISION) or "") < chained.since:
        return None
    random = os.urandom(SALT * len(rows))
    salts = [random[at : at + SALT] for at in range(0, len(random), SALT)]
    times = [row["time"] for row in rows]
    content = {
        "kind": chained.kind,
        "rows": len(rows),
        "oldest": min(times),
        "newest": max(times),
        "ids": _encoder.encode([row[chained.key] for row in rows]).decode(),
        "salts": random,
        "digests": b"".join(_digests(chained, salts, rows)),
    }
    return _append(connection, spool, content)


def append_note(connection: sa.Connection, kind: str, content: dict[str, Any]) -> Head:
    """Append what happened to the log itself to the chain :data:`LOG`."""
    text = _encoder.encode(content)
    digests = hashlib.sha256(text).digest()
    none = {"oldest": "", "newest": "", "rows": 0, "salts": b""}
    return _append(connection, LOG, {"kind": kind, "ids": text.decode(), "digests": digests, **none})


def _append(connection: sa.Connection, spool: str, content: dict[str, Any]) -> Head:
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"spool": spool})  # a shipper and a replay may add to one chain
    before = last(connection, spool) or Head(spool, 0, NONE)
    number, previous = before.number, before.hash
    batch = {"format": FORMAT, "spool": spool, "number": number + 1, "previous": previous, "time": timestamps.now()}
    batch |= content
    own = hashed(batch)
    connection.execute(_INSERT, {**batch, "hash": own})
    return Head(spool, number + 1, own)


def _new(connection: sa.Connection, chained: Chained, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Insert the rows that are new; returns them."""
    for _ in range(TRIES):
        if not rows:
            return rows
        point = connection.begin_nested()
        if database.put(connection, rows, chained.statement) == len(rows):  # as nearly always
            point.commit()
            return rows
        point.rollback()
        first = {row[chained.key]: row for row in reversed(rows)}
        known = _known(connection, chained, list(first))
        rows = [row for own, row in reversed(first.items()) if own not in known]
    raise sa.exc.OperationalError("insert", None, RuntimeError("others insert the same rows all the time"))


def _known(connection: sa.Connection, chained: Chained, ids: Sequence[str]) -> set[str]:
    own, found = chained.table.c[chained.key], set[str]()
    for at in range(0, len(ids), PORTION):
        found |= set(connection.execute(sa.select(own).where(own.in_(ids[at : at + PORTION]))).scalars())
    return found
