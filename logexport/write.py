"""Writes an export: a directory that is there whole, or not at all, and that never has what was erased.

Rows are read a page at a time, so memory is bounded and nobody waits for the reader. An erasure that comes meanwhile makes it
begin again; the last look at the erasures, and the directory's new name, are in one transaction that keeps erasures out.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from logexport.dictionary import CHALLENGES, EVENTS, INPUT, NUMBER, PREDICTIONS, TEXT, TIME, Column, features
from modelbundle import __version__
from services import private
from services.predictionlog import audit, database, event
from services.predictionlog.database import challenges, events, outcomes, predictions

PAGE = 5_000  # rows
TRIES = 3
Page = Sequence[dict[str, Any]]
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_ERASURE = sa.select(sa.func.max(events.c.id)).where(events.c.kind == event.ERASURE)
_READ = (
    *predictions.c,
    *(outcomes.c[name].label(f"outcome_{name}") for name in ("name", "value", "time", "key_name")),
)


class ExportError(Exception):
    """Nothing was written; the message says why."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported: rows from ``since`` on and before ``until``, times as the log has them. ``by`` is who asks."""

    since: str
    until: str
    by: str


def write(url: str, out: Path, wanted: Export, places: Sequence[Path]) -> dict[str, int]:
    """Write the directory ``out``; returns the rows of each table. Bundles in ``places`` describe the features.

    Raises :class:`ExportError`, :class:`OSError` and SQLAlchemy's errors.
    """
    reading, writing = database.connect(url, reading=True), database.connect(url)
    if (database.revision(reading) or "") < database.HEAD:
        raise ExportError("the tables are of an earlier version: run python -m services.predictionlog migrate")
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} is there already")
    private.directory(out.absolute().parent)
    unfinished = out.with_name(f".{out.name}.unfinished")
    for _ in range(TRIES):
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        try:
            before = _erasure(reading)
            unfinished.mkdir(mode=private.DIRECTORY)
            counts = _fill(reading, unfinished, wanted, places)
            if _finish(writing, before, unfinished, out, wanted, counts):
                return counts
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    raise ExportError("rows were erased whenever it was about to end: try again")


def _erasure(engine: sa.Engine) -> int | None:
    with engine.connect() as connection:
        found: int | None = connection.scalar(_ERASURE)
        return found


def _finish(
    engine: sa.Engine, before: int | None, unfinished: Path, out: Path, wanted: Export, counts: dict[str, int]
) -> bool:
    """Give the directory its name, unless an erasure came since ``before``. Recorded as an event."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(database.TOGETHER)  # an erasure waits; SQLite has one writer
        if connection.scalar(_ERASURE) != before:
            return False
        detail = {"since": wanted.since or None, "until": wanted.until, "rows": counts, "by": wanted.by}
        audit.note(connection, event.EXPORT, detail)
        unfinished.rename(out)
    _sync(out.absolute().parent)
    return True


def _fill(engine: sa.Engine, folder: Path, wanted: Export, places: Sequence[Path]) -> dict[str, int]:
    kinds, versions = _features(engine, wanted)
    tables: dict[str, tuple[tuple[Column, ...], Iterator[Page]]] = {
        "predictions": (PREDICTIONS + features(kinds, versions, places), _predictions(engine, wanted)),
        "challenges": (CHALLENGES, _challenges(engine, wanted)),
        "events": (EVENTS, _events(engine, wanted)),
    }
    counts = {name: _table(folder, name, *table) for name, table in tables.items()}
    with _file(folder / "dictionary.csv") as raw:
        lines = [column.words for columns, _ in tables.values() for column in columns]
        text = open(raw.fileno(), "w", encoding="utf-8", newline="", closefd=False)
        table = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
        text.flush()
        _durable(raw)
    about: dict[str, Any] = {
        "since": wanted.since or None,
        "until": wanted.until,
        "rows": counts,
        "tool": f"logexport {__version__}",
    }
    about["sha256"] = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    with _file(folder / "export.json") as file:
        file.write(json.dumps(about, indent=2).encode() + b"\n")
        _durable(file)
    _sync(folder)
    return counts


def _table(folder: Path, name: str, columns: tuple[Column, ...], pages: Iterator[Page]) -> int:
    """One table in both forms; returns its rows."""
    schema, count = pa.schema([column.field for column in columns]), 0
    with ExitStack() as stack:
        files = [stack.enter_context(_file(folder / f"{name}.{kind}")) for kind in ("parquet", "csv")]
        with pq.ParquetWriter(files[0], schema, compression="zstd") as parquet, pc.CSVWriter(files[1], schema) as text:
            for page in pages:
                arrays = [_array(page, column) for column in columns]
                batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
                parquet.write_batch(batch)
                text.write_batch(batch)
                count += len(page)
        for file in files:
            _durable(file)
    return count


def _array(page: Page, column: Column) -> pa.Array:
    values = [row.get(column.name) for row in page]
    if column.type == TIME:
        values = [None if value is None else datetime.fromisoformat(value) for value in values]
    elif column.type == TEXT:
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    elif column.type == NUMBER:
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, column.type)


def _features(engine: sa.Engine, wanted: Export) -> tuple[dict[str, pa.DataType], list[str]]:
    """The features of all rows, texts where any row has one, and the versions, in the order in which they are met."""
    found: dict[str, pa.DataType] = {}
    versions: dict[str, None] = {}
    for page in _predictions(engine, wanted):
        for row in page:
            versions.setdefault(row["model_version"])
            for name, value in row.items():
                if name.startswith(INPUT):
                    if isinstance(value, str):
                        found[name.removeprefix(INPUT)] = TEXT
                    else:
                        found.setdefault(name.removeprefix(INPUT), NUMBER)
    return found, list(versions)


def _predictions(engine: sa.Engine, wanted: Export) -> Iterator[Page]:
    """The predictions by time, with their outcomes and with a column for each feature."""
    own = predictions.c
    query = sa.select(*_READ).outerjoin_from(predictions, outcomes, outcomes.c.prediction_id == own.prediction_id)
    query = query.where(own.time < wanted.until).order_by(own.time, own.prediction_id)

    def after(last: dict[str, Any] | None) -> sa.Select[Any]:
        if last is None:
            return query.where(own.time >= wanted.since)
        time, identity = last["time"], last["prediction_id"]
        return query.where(own.time >= time, sa.or_(own.time > time, own.prediction_id > identity))

    for page in _pages(engine, after):
        for row in page:
            row |= {INPUT + name: value for name, value in _decode(row["input"]).items()}
        yield page


def _challenges(engine: sa.Engine, wanted: Export) -> Iterator[Page]:
    """What challengers said of the predictions that are exported, by prediction."""
    own, about = challenges.c, predictions.c
    query = sa.select(challenges).join_from(challenges, predictions, about.prediction_id == own.prediction_id)
    query = query.where(about.time >= wanted.since, about.time < wanted.until)
    query = query.order_by(own.prediction_id, own.model_version)

    def after(last: dict[str, Any] | None) -> sa.Select[Any]:
        if last is None:
            return query
        identity, version = last["prediction_id"], last["model_version"]
        later = sa.or_(own.prediction_id > identity, own.model_version > version)
        return query.where(own.prediction_id >= identity, later)

    return _pages(engine, after)


def _events(engine: sa.Engine, wanted: Export) -> Iterator[Page]:
    """The events, without the ids that were erased, and without those about a prediction that is gone."""
    query = sa.select(events.c.id, events.c.time, events.c.kind, events.c.detail)
    query = query.where(events.c.time >= wanted.since, events.c.time < wanted.until).order_by(events.c.id)
    for page in _pages(engine, lambda last: query if last is None else query.where(events.c.id > last["id"])):
        details = [json.loads(row["detail"]) for row in page]
        about = [detail.get("prediction_id") for detail in details]
        with engine.connect() as connection:
            chosen = sa.select(predictions.c.prediction_id).where(predictions.c.prediction_id.in_(filter(None, about)))
            there = set(connection.execute(chosen).scalars())
        kept = []
        for row, detail, identity in zip(page, details, about, strict=True):
            row["detail"] = json.dumps(_nameless(row["kind"], detail))
            if identity is None or identity in there:
                kept.append(row)
        yield kept


def _nameless(kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    """The facts of an event without the ids of what was erased, or may have been since."""
    if kind == event.ERASURE:
        return detail | {name: "erased" for name in ("record_id", "request_id") if name in detail}
    if kind == event.LOOKUP:
        searched = {"searched": sorted(detail["searched"])} if detail.get("searched") else {}
        return detail | searched | {"predictions": len(detail.get("predictions", ()))}
    return detail


def _pages(engine: sa.Engine, after: Callable[[dict[str, Any] | None], sa.Select[Any]]) -> Iterator[Page]:
    """Pages of rows, each read by a statement of its own that begins after the last row."""
    last = None
    while True:
        with engine.connect() as connection:
            page = [dict(row) for row in connection.execute(after(last).limit(PAGE)).mappings()]
        if not page:
            return
        last = dict(page[-1])
        yield page


def _file(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, private.FILE), "wb")


def _durable(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
