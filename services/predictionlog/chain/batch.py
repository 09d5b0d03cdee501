"""One batch of a chain: how it is hashed, read and appended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from services.predictionlog.chain import LOG, ROWS
from services.predictionlog.database import chain
from services.web import timestamps

FORMAT = 1
SALT, DIGEST = 16, 32  # bytes
NONE = "0" * 64  # the hash before the first batch
COLUMNS = (
    "prediction_id", "time", "model_version", "generation", "request_id", "key_name", "record_id", "probability", "band",
    "probabilities", "input", "reasons", "warnings",
)  # fmt: skip
_values = itemgetter(*COLUMNS)
_encoder = msgspec.json.Encoder()
_LAST = sa.select(chain.c.number, chain.c.hash).order_by(chain.c.number.desc()).limit(1)
_LOCK = sa.text("SELECT pg_advisory_xact_lock(7210593, hashtext(:spool))")


@dataclass(frozen=True, slots=True)
class Head:
    """The last batch of a chain."""

    spool: str
    number: int
    hash: str


def digest(salt: bytes, row: Mapping[str, Any]) -> bytes:
    """What stands for a row, as the database has it."""
    return hashlib.sha256(salt + _encoder.encode(_values(row))).digest()


def hashed(batch: Mapping[str, Any]) -> str:
    """The hash of a batch, a row of the table ``chain``."""
    names = ("format", "spool", "number", "previous", "kind", "time", "rows", "oldest", "newest")
    head = _encoder.encode([batch[name] for name in names])
    return hashlib.sha256(head + b"\n" + batch["digests"]).hexdigest()


def append(connection: sa.Connection, spool: str, rows: Sequence[Mapping[str, Any]]) -> Head:
    """Append a batch for rows that this transaction has inserted."""
    random = os.urandom(SALT * len(rows))
    salts = [random[at : at + SALT] for at in range(0, len(random), SALT)]
    times = [row["time"] for row in rows]
    content = {
        "kind": ROWS,
        "rows": len(rows),
        "oldest": min(times),
        "newest": max(times),
        "ids": _encoder.encode([row["prediction_id"] for row in rows]).decode(),
        "salts": random,
        "digests": b"".join(map(digest, salts, rows)),
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
    number, previous = connection.execute(_LAST.where(chain.c.spool == spool)).one_or_none() or (0, NONE)
    batch = {"format": FORMAT, "spool": spool, "number": number + 1, "previous": previous, "time": timestamps.now()}
    batch |= content
    own = hashed(batch)
    connection.execute(sa.insert(chain).values(**batch, hash=own))
    return Head(spool, number + 1, own)
