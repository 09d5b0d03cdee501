"""The rows that figures are of: a labelled book, scored as ``make score`` does, or logged predictions with their outcomes."""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from numpy.typing import NDArray

from fairness.errors import FairnessError, shown
from fairness.groups import as_text, texts
from modelbundle.format.outcome import Outcome
from modelbundle.model import Model
from modelbundle.validation.csv_cells import answer_names
from portfolio.job.plan import inputs
from portfolio.job.run import run
from portfolio.options import Options
from services.predictionlog import database

BATCH = 50_000  # logged rows that are read at a time

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """n rows with their probabilities of the last class, shape (n,), and labels, shape (n,): 1, 0, and -1 for none known.

    ``ids`` are None for rows without one. ``features`` has the n values of each feature. ``unanswered`` are the ids of rows that
    the model did not accept, and ``notes`` say what else was left out.
    """

    source: str
    ids: Sequence[str | None]
    probabilities: Floats
    labels: NDArray[np.int8]
    features: Mapping[str, Sequence[Any]]
    unanswered: Sequence[str | None] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def book(place: str, model: Model, path: Path, id_column: str, label: str | None) -> Judged:
    """The rows of a book; ``label`` is the column of outcomes, by default the one with the outcome's name, if there is one.

    Raises :class:`FairnessError`, :class:`portfolio.errors.PortfolioError`.
    """
    with tempfile.TemporaryDirectory(prefix="fairness-") as folder:
        output = Path(folder, "scored.parquet")
        options = Options(place, str(output), path, sha256=model.version, with_reasons=False, allow_pickle=True)
        summary = run(options)
        unanswered = _rejected(summary.rejects, id_column)
        many = inputs(place)[1]
        probability = answer_names(["probability"], model.schema)[0]
        have = pq.read_schema(output).names
        named = label or model.manifest.outcome.name
        for asked in (id_column, *([label] if label else [])):
            if asked not in have:
                raise FairnessError(f"{place}: has no column {shown(asked)}")
        own = [name for name in model.schema.names if name in have]
        wanted = list(dict.fromkeys([id_column, probability, *own, *([named] if named in have else [])]))
        table = pq.read_table(output, columns=wanted)
    ids = texts(_whole(table, id_column), id_column)
    numbers = _numbers(len(table), () if many else unanswered)
    _unique(place, [*zip(numbers, ids, strict=True), *unanswered])
    cells = texts(_whole(table, named), named) if named in have else None
    notes = [] if cells is not None else [f"the book has no column {named}, so nothing is known of outcomes"]
    return Judged(
        PurePosixPath(place.rstrip("/")).name,
        ids,
        np.asarray(table[probability].to_numpy(), dtype=np.float64),
        _labels(place, cells or [None] * len(ids), model.manifest.outcome, named, numbers),
        {name: table[name].to_pylist() for name in own},
        [own for _, own in unanswered],
        notes,
    )


def _whole(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _rejected(path: str | None, id_column: str) -> list[tuple[int, str | None]]:
    """Row and id of each rejected row. A row that is not even a row of the file has no id."""
    if path is None:
        return []
    with Path(path).open(encoding="utf-8", newline="") as file:
        found = []
        csv.field_size_limit(1 << 30)
        for entry in csv.DictReader(file):
            record = json.loads(entry["record"])
            own = record.get(id_column) if isinstance(record, dict) else None
            found.append((int(entry["row"]), as_text(own)))
    return found


def _numbers(rows: int, rejected: Sequence[tuple[int, str | None]]) -> list[int]:
    """The numbers in the file, from 1, of the rows that were scored; of several files, the numbers among the scored rows."""
    gone = {row for row, _ in rejected}
    return [number for number in range(1, rows + len(gone) + 1) if number not in gone][:rows]


def _unique(place: str, rows: Sequence[tuple[int, str | None]]) -> None:
    seen: dict[str, int] = {}
    for number, own in sorted(rows, key=lambda row: row[0]):
        if own is None:
            continue
        if own in seen:
            raise FairnessError(f"{place}: row {number} has the id {shown(own)} of row {seen[own]} again")
        seen[own] = number


def _labels(
    place: str, cells: Sequence[str | None], outcome: Outcome, name: str, numbers: Sequence[int]
) -> NDArray[np.int8]:
    known: dict[str | None, int] = {None: -1}
    for cell, number in zip(cells, numbers, strict=True):
        if cell in known or cell is None:
            continue
        value = outcome.read(cell)
        if value is None:
            raise FairnessError(f"{place}: row {number} has {shown(cell)} in {shown(name)}, which {outcome.rule}")
        known[cell] = int(value == outcome.values[-1])
    return np.array([known[cell] for cell in cells], dtype=np.int8)


def logged(url: str, days: int, model: Model, by: str, caller: str | None = None) -> Judged:
    """What the model answered in the last ``days``, with the outcomes that are known; ids are the callers' own, or with
    ``by`` ``prediction_id`` those of predictions. Of one id the last prediction with an outcome counts, else the last. With
    ``caller``, only what the API key of this name asked counts: an id is one caller's own, so it must be said where there are
    several.

    Raises :class:`FairnessError`, and the errors of SQLAlchemy.
    """
    engine = database.connect(url, reading=True)
    if database.revision(engine) is None:
        raise FairnessError("nothing has been logged here yet")
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    found, left = _chosen(_rows(engine, since), model.version, by, caller)
    if not found:
        others = "".join(f"; there are {count:,} {what}" for what, count in left.items())
        raise FairnessError(f"the model {model.version[:12]} answered nothing in the last {days} days{others}")
    callers = sorted({row.key_name or "" for row in found.values()})
    if by == "id" and len(callers) > 1:
        names = ", ".join(map(shown, callers[:20]))
        raise FairnessError(
            f"an id is its caller's own, and several callers asked: say whose ids these are (--caller): {names}"
        )
    rows = list(found.values())
    labels = [-1 if row.value is None else model.manifest.outcome.label(row.name, row.value) for row in rows]
    if other := labels.count(None):
        left["outcomes that are none of this model"] += other
    asked = [msgspec.json.decode(row.input) for row in rows]
    return Judged(
        f"the prediction log, {min(row.time for row in rows)[:10]} to {max(row.time for row in rows)[:10]}",
        [row.record_id if by == "id" else row.prediction_id for row in rows],
        np.array([row.probability for row in rows], dtype=np.float64),
        np.array([-1 if label is None else label for label in labels], dtype=np.int8),
        {name: [values.get(name) for values in asked] for name in model.schema.names},
        notes=[f"{count:,} {what} are left out" for what, count in left.items()],
    )


def _chosen(rows: Iterable[Any], version: str, by: str, caller: str | None) -> tuple[dict[str, Any], Counter[str]]:
    """The rows that count, by id, and how many others there are of which kind. The rows come in the order of time."""
    found: dict[str, Any] = {}
    left: Counter[str] = Counter()
    for row in rows:
        if row.model_version != version:
            left["answers of other models"] += 1
        elif caller is not None and (row.key_name or "") != caller:
            left["answers to other callers"] += 1
        else:
            own = f"\0{row.prediction_id}" if by != "id" or row.record_id is None else row.record_id
            key = f"{row.key_name or ''}\0{own}"
            if key in found:
                left["further answers about the same id"] += 1
            if key not in found or row.value is not None or found[key].value is None:
                found[key] = row
    return found, left


def _rows(engine: sa.Engine, since: str) -> Iterator[Any]:
    rows, known = database.predictions.c, database.outcomes.c
    joined = database.predictions.outerjoin(database.outcomes, rows.prediction_id == known.prediction_id)
    columns = [
        rows[name]
        for name in ("prediction_id", "record_id", "key_name", "time", "model_version", "probability", "input")
    ]
    query = sa.select(*columns, known.name, known.value).select_from(joined).where(rows.time >= since)
    with engine.connect().execution_options(stream_results=True) as connection:
        for part in connection.execute(query.order_by(rows.time, rows.prediction_id)).partitions(BATCH):
            yield from part
