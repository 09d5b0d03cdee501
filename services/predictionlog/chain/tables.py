"""The tables whose rows are chained: what names a row, and which of its columns the digest covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from services.predictionlog import chain, database

Values = Callable[[Mapping[str, Any]], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Chained:
    """One table. ``kind`` is that of its batches, ``key`` the column that names a row, and ``since`` the migration from which on
    its rows are chained, if it is not the one that made the chains. ``position`` is a column that is never null and sorts the
    rows. ``one`` and ``many`` are its words.
    """

    kind: str
    table: sa.Table
    key: str
    position: str
    since: str | None
    one: str
    many: str
    values: Values  # what the digest covers, in order
    statement: sa.TextClause  # inserts a row that is new


def _chained(
    table: sa.Table, kind: str, key: str, since: str | None, one: str, columns: str, position: str = ""
) -> Chained:
    names = columns.split()
    statement = sa.text(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
        f" ON CONFLICT ({key}) DO NOTHING"
    )
    return Chained(kind, table, key, position or key, since, one, table.name, itemgetter(*names), statement)


PREDICTIONS = _chained(
    database.predictions, chain.ROWS, "prediction_id", None, "the prediction",
    "prediction_id time model_version generation request_id key_name record_id probability band"
    " probabilities input reasons warnings",
)  # fmt: skip
EVENTS = _chained(database.events, chain.EVENTS, "event_id", "0010", "the event", "event_id time kind detail", "id")
OUTCOMES = _chained(  # without the column of older versions, which triggers derive from the value
    database.outcomes, chain.OUTCOMES, "prediction_id", "0010", "the outcome of the prediction",
    "prediction_id name value time key_name",
)  # fmt: skip
TABLES = {chained.kind: chained for chained in (PREDICTIONS, EVENTS, OUTCOMES)}
