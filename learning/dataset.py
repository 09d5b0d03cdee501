"""``make dataset``: logged predictions with their outcomes as one Parquet file, for whoever fits a model.

A row has the features as they were validated, the probability and the model that gave it, and what became of it. Rows that were
erased are not there; outcomes are as they were corrected. The file's metadata has the query, the counts, and a fingerprint of
the content: the same log and the same query give the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from modelbundle import __version__
from services.predictionlog import database

BATCH = 20_000
METADATA = b"dataset"
OWN: dict[str, pa.DataType] = {
    "prediction_id": pa.string(),
    "record_id": pa.string(),
    "time": pa.timestamp("us", "UTC"),
    "model_version": pa.string(),
    "probability": pa.float64(),
    "band": pa.string(),
    "outcome": pa.bool_(),
    "outcome_time": pa.timestamp("us", "UTC"),
}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class DatasetError(Exception):
    """There is nothing to write; the message says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows. Times are ISO 8601 in UTC; a row belongs to the dataset from ``since`` on and before ``until``.

    ``last`` keeps only the last prediction of each caller's ``id``. A row without an outcome is unknown; with ``window`` (days),
    it is a negative outcome once it is older than that at ``until``, where outcomes are true or false. ``outcome`` is the name of
    those that count; it must be said where the log has outcomes of several names.
    """

    until: str
    since: str = ""
    last: bool = False
    window: float | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: rows, rows with an outcome, rows whose outcome is true (None where outcomes are no truth values), the
    name of the outcome, the columns of features, and the fingerprint."""

    rows: int
    known: int
    positive: int | None
    outcome: str | None
    features: tuple[str, ...]
    fingerprint: str


def write(url: str, path: Path, query: Query) -> Written:
    """Write the dataset to ``path``, whole or not at all. Raises :class:`DatasetError`, and the errors of SQLAlchemy."""
    engine = database.connect(url, reading=True)
    if database.revision(engine) is None:
        raise DatasetError("nothing has been logged here yet")
    kinds, form = _kinds(engine, query)
    if not kinds:
        raise DatasetError("no prediction was logged in this time")
    if query.window is not None and form.kind != pa.bool_():
        raise DatasetError(f"a window needs outcomes that are true or false; {form.name} has other values")
    names = {name: f"logged_{name}" if name in kinds else name for name in OWN}
    own = {**OWN, "outcome": form.kind}
    schema = pa.schema([(names[name], kind) for name, kind in own.items()] + [(n, k) for n, k in kinds.items()])
    unfinished = path.with_name(f".{path.name}.unfinished")
    digest = hashlib.sha256()
    counts = [0, 0, 0]
    try:
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for rows in _rows(engine, query):
                outcomes = [form.value(row, query) for row in rows]
                writer.write_batch(_batch(rows, outcomes, kinds, schema))
                for row, outcome in zip(rows, outcomes, strict=True):
                    facts = (row.prediction_id, row.model_version, row.probability.hex(), outcome, row.input)
                    digest.update("\0".join(map(str, facts)).encode() + b"\n")
                for k, value in enumerate(
                    (len(rows), sum(o is not None for o in outcomes), sum(o is True for o in outcomes))
                ):
                    counts[k] += value
            positive = counts[2] if form.kind == pa.bool_() else None
            written = Written(counts[0], counts[1], positive, form.name, tuple(kinds), digest.hexdigest())
            about = {"query": asdict(query), **asdict(written), "tool": f"learning {__version__}"}
            writer.add_key_value_metadata({METADATA: json.dumps(about)})
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return written


def describe(path: Path) -> dict[str, Any]:
    """What the metadata of a dataset says; raises :class:`DatasetError` where it is none."""
    try:
        found = (pq.read_metadata(path).metadata or {}).get(METADATA)
        about = json.loads(found or b"null")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read ({type(error).__name__})") from None
    if not isinstance(about, dict):
        raise DatasetError(f"{path} is not a dataset of `make dataset`")
    return about


@dataclass(frozen=True, slots=True)
class _Form:
    """The outcome that counts: its name and the kind of its values."""

    name: str | None
    kind: pa.DataType

    @classmethod
    def of(cls, seen: Mapping[str, set[str]], wanted: str | None) -> _Form:
        """From the values (JSON) that the log has, by the outcome's name."""
        if wanted is None and len(seen) > 1:
            raise DatasetError(f"the log has outcomes of several names ({', '.join(sorted(seen))}): say which")
        name = wanted if wanted is not None else next(iter(seen), None)
        types = {type(json.loads(text)) for text in seen.get(name or "", ())}
        if types <= {bool}:
            return cls(name, pa.bool_())
        return cls(name, pa.float64() if types <= {int, float} else pa.string())

    def value(self, row: Any, query: Query) -> bool | float | str | None:
        """The outcome of a row; None where it is not known."""
        if row.outcome is not None and row.outcome_name == self.name:
            value: bool | float | str = json.loads(row.outcome)
            return str(value) if self.kind == pa.string() else value
        if row.outcome is not None or query.window is None:
            return None
        closed = datetime.fromisoformat(row.time) + timedelta(days=query.window) <= datetime.fromisoformat(query.until)
        return False if closed else None


def _kinds(engine: sa.Engine, query: Query) -> tuple[dict[str, pa.DataType], _Form]:
    """The features of all rows, numbers, or texts where any row has one; and the outcome."""
    found: dict[str, pa.DataType] = {}
    outcomes: dict[str, set[str]] = defaultdict(set)
    for rows in _rows(engine, query):
        for row in rows:
            if row.outcome is not None:
                outcomes[row.outcome_name].add(row.outcome)
            for name, value in _decode(row.input).items():
                if isinstance(value, str):
                    found[name] = pa.string()
                else:
                    found.setdefault(name, pa.float64())
    return found, _Form.of(outcomes, query.outcome)


def _rows(engine: sa.Engine, query: Query) -> Iterator[Sequence[Any]]:
    rows, known = database.predictions.c, database.outcomes.c
    joined = database.predictions.outerjoin(database.outcomes, rows.prediction_id == known.prediction_id)
    own = sa.func.coalesce(rows.record_id, rows.prediction_id)
    place = sa.func.row_number().over(partition_by=own, order_by=(rows.time.desc(), rows.prediction_id.desc()))
    columns = (
        rows.prediction_id, rows.record_id, rows.time, rows.model_version, rows.probability, rows.band, rows.input,
        known.name.label("outcome_name"), known.value.label("outcome"), known.time.label("outcome_time"), place.label("place"),
    )  # fmt: skip
    inner = sa.select(*columns).select_from(joined).where(rows.time >= query.since, rows.time < query.until).subquery()
    wanted = sa.select(inner).order_by(inner.c.time, inner.c.prediction_id)
    if query.last:
        wanted = wanted.where(inner.c.place == 1)
    with engine.connect().execution_options(stream_results=True) as connection:
        yield from connection.execute(wanted).partitions(BATCH)


def _batch(
    rows: Sequence[Any], outcomes: Sequence[bool | float | str | None], kinds: dict[str, pa.DataType], schema: pa.Schema
) -> pa.RecordBatch:
    times = [datetime.fromisoformat(row.time) for row in rows]
    came = [None if row.outcome_time is None else datetime.fromisoformat(row.outcome_time) for row in rows]
    own: dict[str, Any] = {
        name: [getattr(row, name) for row in rows] for name in OWN if "time" not in name and name != "outcome"
    }
    own |= {"time": times, "outcome": outcomes, "outcome_time": came}
    inputs = [_decode(row.input) for row in rows]
    arrays = [pa.array(own[name], kind.type) for name, kind in zip(OWN, schema, strict=False)]
    for name, kind in kinds.items():
        values = [given.get(name) for given in inputs]
        if kind == pa.string():
            values = [v if v is None else str(v) for v in values]
        arrays.append(pa.array(values, kind))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
