"""Erases predictions: from the database, for rows that arrive later too, and from the files in DATA_DIR.

A row may wait in the spool, with this host or another, while the database is away. So an erasure stays in the table ``erasures``,
and :func:`services.predictionlog.database.insert` leaves out what it names.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from modelbundle.durable import Disk
from services.predictionlog import audit, event, record, spool
from services.predictionlog.chain.tombstones import bury
from services.predictionlog.challenger_queue import Queue
from services.predictionlog.database import ALONE, BEFORE, RECORD, REQUEST, predictions
from services.predictionlog.shipper import DAMAGED

LOOK = 0.1
PATIENCE = 30  # seconds for others to leave SQLite's file
COLUMNS = {REQUEST: predictions.c.request_id, RECORD: predictions.c.record_id}
_KEEP = sa.text(
    "INSERT INTO erasures (kind, value, caller, until) VALUES (:kind, :value, :caller, :until)"
    " ON CONFLICT (kind, value, caller) DO UPDATE SET until = excluded.until WHERE excluded.until > erasures.until"
)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is erased: predictions from before ``until``, or those up to it whose id or request id is ``value``.

    ``caller`` is the name of a key, and empty for all callers.
    """

    kind: str
    value: str
    until: str
    caller: str = ""

    @property
    def condition(self) -> sa.ColumnElement[bool]:
        """The rows of the database."""
        if self.kind == BEFORE:
            return predictions.c.time < self.until
        whose = predictions.c.key_name == self.caller if self.caller else sa.true()
        return sa.and_(COLUMNS[self.kind] == self.value, predictions.c.time <= self.until, whose)

    def covers(self, seconds: float, request_id: str, caller: str | None, record_id: str | None) -> bool:
        """Whether a row is meant."""
        until = datetime.fromisoformat(self.until).timestamp()
        if self.kind == BEFORE:
            return seconds < until
        own = request_id if self.kind == REQUEST else record_id
        return own == self.value and seconds <= until and self.caller in ("", caller)


def erase(engine: sa.Engine, wanted: Erasure, by: str) -> int:
    """Erase from the database, now and for what arrives later; returns the number of predictions. Recorded as an event."""
    row = {"kind": wanted.kind, "value": wanted.value, "caller": wanted.caller, "until": wanted.until}

    def keep(connection: sa.Connection) -> dict[str, Any]:
        if engine.dialect.name == "postgresql":
            connection.execute(ALONE)  # rows that are being inserted are there when this has it
        connection.execute(_KEEP, row)
        head = bury(connection, wanted.condition, wanted.until if wanted.kind == BEFORE else None)
        return {"chain": asdict(head)} if head else {}

    key = {"key": wanted.caller} if wanted.caller else {}
    return audit.erase(engine, wanted.condition, {wanted.kind: wanted.value, **key, "by": by}, keep)


def vacuum(engine: sa.Engine) -> str:
    """Write SQLite's file anew, without pages that once held what is erased; a server's files are its operator's.

    Returns why not, where there is no room or others use the file for too long; nothing where it is done.
    """
    if engine.dialect.name != "sqlite":
        return ""
    raw = engine.raw_connection()
    try:
        with contextlib.closing(raw.cursor()) as cursor:  # SQLAlchemy would begin a transaction
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
            cursor.execute("VACUUM")
    except engine.dialect.loaded_dbapi.Error as error:
        return str(error)
    finally:
        raw.close()
    return ""


def callers(engine: sa.Engine, wanted: Erasure, root: Path) -> set[str | None]:
    """The names of the keys whose predictions are meant, in the database and in the spool."""
    query = sa.select(predictions.c.key_name).where(wanted.condition).distinct()
    with engine.connect() as connection:
        found = set(connection.execute(query).scalars())
    for path in (*spool.named(root, spool.OPEN), *spool.named(root, spool.CLOSED)):
        with contextlib.suppress(FileNotFoundError):  # it was shipped meanwhile
            found |= {head[4] for line in spool.lines(path) if (head := _parts(line)) and _meant(wanted, head)}
    return found


def shipped(root: Path, seconds: float) -> bool:
    """Wait, for at most ``seconds``, until the spool has none of the segments that it has now."""
    before, deadline = spool.waiting(root), time.monotonic() + seconds
    while before & spool.waiting(root):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True


@dataclass(slots=True)
class Cleaned:
    """What was found in files: ``rows`` were erased from them; ``unreadable`` lines may hold others, in the files ``where``."""

    rows: int
    unreadable: int
    where: list[Path]


def clean(root: Path, wanted: Erasure) -> Cleaned:
    """Erase from the damaged segments of a spool, and from the challenger's queue. Raises :class:`OSError`."""
    found = Cleaned(0, 0, [])
    for path in (*spool.named(root, DAMAGED), *Queue.of_spool(root).segments()):
        with contextlib.suppress(FileNotFoundError):  # its reader was faster
            rows, unreadable = _clean(path, wanted)
            found.rows += rows
            found.unreadable += unreadable
            if unreadable:
                found.where.append(path)
    return found


def _clean(path: Path, wanted: Erasure) -> tuple[int, int]:
    if wanted.kind == BEFORE and path.stat().st_mtime < datetime.fromisoformat(wanted.until).timestamp():
        rows = sum(1 for _ in spool.raw_lines(path))
        path.unlink()
        return rows, 0
    kept: list[bytes] = []
    rows = unreadable = 0
    for raw in spool.raw_lines(path):
        own, line = spool.apart(raw)
        parts = _parts(line)
        meant = _meant(wanted, parts) if parts is not None else set()
        if parts is not None and (meant or own in (b"", spool.checksum(line))):  # else the damage may be in the id
            rows += len(meant)
            kept.extend(_without(raw, parts, meant))
        elif event.is_one(line):
            kept.append(raw)
        elif wanted.kind != BEFORE and any(name in raw for name in _spellings(wanted.value)):
            rows += 1
        else:
            unreadable += 1
            kept.append(raw)
    if rows:
        facts = path.stat()
        Disk().write_file(path, b"".join(kept), durable=True)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return rows, unreadable


def _parts(line: bytes) -> list[Any] | None:
    """A line of predictions as :mod:`services.predictionlog.record` writes it, read as leniently as can be; None for others.

    Columns become JSON, so what is left of them when rows are erased is a line of JSON.
    """
    try:
        match json.loads(record.as_line(line)):
            case [_, int() | float(), _, str(), str() | None, dict() as inputs, list() as answers] as parts:
                columns = all(isinstance(v, list) and len(v) == len(answers) for v in inputs.values())
                return parts if columns and all(isinstance(answer, dict) for answer in answers) else None
    except (ValueError, RecursionError, msgspec.MsgspecError):
        pass
    return None


def _meant(wanted: Erasure, parts: list[Any]) -> set[int]:
    """The positions of the rows that are erased."""
    _, seconds, _, request_id, caller, _, answers = parts
    return {i for i, answer in enumerate(answers) if wanted.covers(seconds, request_id, caller, answer.get("id"))}


def _without(raw: bytes, parts: list[Any], rows: set[int]) -> Iterator[bytes]:
    """The line without these rows, with a checksum that fits if its own did: what was damaged stays known for that."""
    if not rows:
        yield raw
    elif len(rows) < len(parts[6]):
        left = [i for i in range(len(parts[6])) if i not in rows]
        inputs = {name: [values[i] for i in left] for name, values in parts[5].items()}
        content = [*parts[:5], inputs, [parts[6][i] for i in left]]
        line = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
        own, before = spool.apart(raw)
        yield (spool.checksum(line) if own == spool.checksum(before) else own) + line


def _spellings(value: str) -> Iterable[bytes]:
    """A text as JSON may have it."""
    return (json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), json.dumps(value).encode())
