"""Erasure in the chains: an erased row's id and salt go, its digest stays, and the chain of the log says where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from services.predictionlog.chain import BEGUN, ERASED, LOG, ROWS
from services.predictionlog.chain.batch import SALT, Head, append_note
from services.predictionlog.database import chain, predictions

PAGE = 100  # batches
PORTION = 1000  # ids in one statement
_NAMED = sa.select(chain.c.spool, chain.c.number).where(chain.c.kind == ROWS)
_NOTES = sa.select(chain.c.kind, chain.c.time, chain.c.ids).where(chain.c.spool == LOG).order_by(chain.c.number)


def bury(connection: sa.Connection, condition: sa.ColumnElement[bool], before: str | None) -> Head | None:
    """Make tombstones of the rows that ``condition`` chooses, which this transaction then deletes; returns the head
    of the chain of the log, where there are any.

    With ``before``, the condition is that a row is older than that.
    """
    count = connection.scalar(sa.select(sa.func.count()).select_from(predictions).where(condition)) or 0
    if not count:
        return None
    begun = connection.execute(_NOTES.where(chain.c.kind == BEGUN).limit(1)).one_or_none()
    since = begun.time if begun else ""
    old = sa.select(sa.func.count()).select_from(predictions).where(condition, predictions.c.time < since)
    unchained = connection.scalar(old) or 0
    erased: list[tuple[str, int, list[int]]] = []
    for spool, number in list(_holding(connection, condition, before)):
        times = _bury(connection, spool, number, condition)
        if times:
            erased.append((spool, number, sorted(times)))
            unchained -= sum(time < since for time in times.values())
    return append_note(connection, ERASED, {"erased": erased, "unchained": unchained})


def _bury(connection: sa.Connection, spool: str, number: int, condition: sa.ColumnElement[bool]) -> dict[int, str]:
    """Make tombstones in one batch; returns their positions with the times of the rows."""
    mine = sa.and_(chain.c.spool == spool, chain.c.number == number)
    text, salts = connection.execute(sa.select(chain.c.ids, chain.c.salts).where(mine)).one()
    ids: list[str | None] = json.loads(text)
    there = [own for own in ids if own is not None]
    meant: dict[str, str] = {}
    for at in range(0, len(there), PORTION):
        own = predictions.c.prediction_id
        query = sa.select(own, predictions.c.time).where(own.in_(there[at : at + PORTION]), condition)
        meant.update(map(tuple, connection.execute(query)))
    places = {at: meant[own] for at, own in enumerate(ids) if own in meant}
    if places:
        left = bytearray(salts)
        for at in places:
            ids[at] = None
            left[at * SALT : (at + 1) * SALT] = bytes(SALT)
        values = {"ids": json.dumps(ids, separators=(",", ":"), ensure_ascii=False), "salts": bytes(left)}
        connection.execute(sa.update(chain).where(mine).values(**values))
    return places


def _holding(
    connection: sa.Connection, condition: sa.ColumnElement[bool], before: str | None
) -> Iterator[tuple[str, int]]:
    """The batches that may have such rows, each once."""
    if before is not None:
        yield from map(tuple, connection.execute(_NAMED.where(chain.c.oldest < before)))
        return
    found: dict[Any, None] = {}
    for time in connection.execute(sa.select(predictions.c.time).where(condition).distinct()).scalars():
        found |= dict.fromkeys(
            map(tuple, connection.execute(_NAMED.where(chain.c.oldest <= time, chain.c.newest >= time)))
        )
    yield from found
