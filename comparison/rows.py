"""The rows that two models are compared on, in batches of columns: a book's, or those of the prediction log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from modelbundle.format.outcome import UNNAMED, Outcome
from modelbundle.schema import Feature, Schema
from portfolio.files import csv_columns
from portfolio.files.locations import CSV
from portfolio.files.readers import InputFile
from portfolio.files.spans import SpanReader, cut
from portfolio.job.plan import inputs
from services.predictionlog import database

BATCH = 50_000  # logged rows that are read at a time


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows. ``text`` says that cells are CSV's; ``outcomes`` are 0 or 1, and -1 where none is known, shape (n,).

    ``unreadable`` counts further rows that are no rows of the file's format. With ``strict``, a value in a column that a model
    does not know is an error, as it is in a request.
    """

    rows: pa.RecordBatch
    text: bool
    outcomes: NDArray[np.int8]
    unreadable: int = 0
    strict: bool = False


class NoRows(LookupError):
    """There is nothing to compare with; the message says why."""


def book(place: str, schema: Schema) -> Iterator[Batch]:
    """The rows of a CSV or Parquet file, a directory or ``s3://…``; raises :class:`portfolio.errors.PortfolioError`."""
    for source in inputs(place)[0]:
        yield from _file(source, schema)


def _file(source: InputFile, schema: Schema) -> Iterator[Batch]:
    names = source.schema.names
    coded = [f.name for f in schema if f.kind == "category" and f.name in names]
    numbers = [f.name for f in schema if f.kind == "number" and f.name in names]
    reader = SpanReader(source.location, coded)
    for span in (piece for whole in cut(source) for piece in whole.pieces()):
        if source.kind == CSV:
            read = csv_columns.read(reader.csv(span), names, numbers, coded)
            rows, unreadable = read.batch, len(read.rejected)
        else:
            rows, unreadable = reader.parquet(span), 0
        yield Batch(rows, source.kind == CSV, np.full(len(rows), -1, np.int8), unreadable)


def logged(url: str, days: int, features: Sequence[Feature], outcome: Outcome = UNNAMED) -> Iterator[Batch]:
    """The rows of the last ``days`` in the prediction log, oldest first, with their outcomes, 1 for the last class.

    Raises :class:`NoRows`, and the errors of SQLAlchemy.
    """
    engine = database.connect(url, reading=True)
    if database.revision(engine) is None:
        raise NoRows("nothing has been logged here yet")
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    rows, known = database.predictions.c, database.outcomes.c
    joined = database.predictions.outerjoin(database.outcomes, rows.prediction_id == known.prediction_id)
    query = (
        sa.select(rows.input, known.name, known.value).select_from(joined).where(rows.time >= since).order_by(rows.time)
    )
    with engine.connect() as connection:
        for part in connection.execute(query).partitions(BATCH):
            records = [msgspec.json.decode(content) for content, *_ in part]
            found = [None if value is None else outcome.label(name, value) for _, name, value in part]
            outcomes = np.array([-1 if label is None else label for label in found], dtype=np.int8)
            yield Batch(_columns(records, features), False, outcomes, strict=True)


def _columns(records: Sequence[Mapping[str, Any]], features: Sequence[Feature]) -> pa.RecordBatch:
    """Logged rows as columns: of the given features as numbers and text, of others that have a value as text."""
    kinds = {feature.name: feature.kind for feature in features}
    names = list(dict.fromkeys([*kinds, *(name for record in records for name in record)]))
    columns = {}
    for name in names:
        values = [record.get(name) for record in records]
        if kinds.get(name) == "number":
            with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError):
                columns[name] = pa.array(values, pa.float64())
                continue
        text = [value if value is None or isinstance(value, str) else f"{value:g}" for value in values]
        columns[name] = pa.array(text, pa.string())
    return pa.RecordBatch.from_pydict(columns)
