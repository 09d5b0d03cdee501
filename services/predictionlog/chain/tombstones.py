"""Erasure and correction in the chains: a row's id and salt go, its digest stays, and the chain of the log says where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from services.predictionlog.chain import BEGUN, CORRECTED, DIRECT, ERASED, EXTENDED, LOG
from services.predictionlog.chain.batch import DIGEST, SALT, Head, append, append_note, digest
from services.predictionlog.chain.tables import OUTCOMES, PREDICTIONS, Chained
from services.predictionlog.database import chain, outcomes, predictions

PORTION = 1000  # ids, or times, in one statement
_NAMED = sa.select(chain.c.spool, chain.c.number)
_NOTES = sa.select(chain.c.time).where(chain.c.spool == LOG).order_by(chain.c.number.desc()).limit(1)

Places = list[tuple[str, int, list[int]]]  # of the batch with this spool and number


def bury(connection: sa.Connection, condition: sa.ColumnElement[bool], before: str | None) -> Head | None:
    """Make tombstones of the predictions that ``condition`` chooses and of their outcomes, which this transaction then deletes;
    returns the head of the chain of the log, where there are any.

    With ``before``, the condition is that a prediction is older than that.
    """
    if not connection.scalar(sa.select(sa.func.count()).select_from(predictions).where(condition)):
        return None
    holding = _holding(connection, condition, before)
    erased, unchained = _bury_all(connection, PREDICTIONS, condition, holding, _since(connection, BEGUN))
    theirs = outcomes.c.prediction_id.in_(sa.select(predictions.c.prediction_id).where(condition))
    known, old = _bury_all(connection, OUTCOMES, theirs, _with(connection, theirs), _since(connection, EXTENDED))
    return append_note(connection, ERASED, {"erased": erased + known, "unchained": unchained, "outcomes": old})


def replace(connection: sa.Connection, chained: Chained, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Make a tombstone of a row that was corrected, and chain it as it is ``after`` that.

    A row that somebody had changed or added by hand keeps its place or has none, as before: that is found then too.
    """
    since = _since(connection, EXTENDED)
    if not since:
        return
    own, places = before[chained.key], Places()
    query = _NAMED.where(chain.c.kind == chained.kind, chain.c.newest == before["time"])
    for spool, number in list(map(tuple, connection.execute(query.order_by(chain.c.spool, chain.c.number)))):
        batch = _batch(connection, spool, number)
        at = batch["ids"].index(own) if own in batch["ids"] else None
        if at is not None and digest(chained, _of(batch["salts"], at, SALT), before) == _of(
            batch["digests"], at, DIGEST
        ):
            _empty(connection, batch, [at])
            places.append((spool, number, [at]))
    old = int(not places and before["time"] < since)
    if places or old:
        append_note(connection, CORRECTED, {"erased": places, chained.kind: old})
        append(connection, DIRECT, chained, [after])


def _bury_all(
    connection: sa.Connection,
    chained: Chained,
    condition: sa.ColumnElement[bool],
    holding: Iterable[tuple[str, int]],
    since: str,
) -> tuple[Places, int]:
    """Make tombstones in these batches; returns where, and how many of the rows are from before the chains."""
    old = sa.select(sa.func.count()).select_from(chained.table).where(condition, chained.table.c.time < since)
    unchained = connection.scalar(old) or 0
    erased = Places()
    for spool, number in list(holding):
        times = _bury(connection, spool, number, chained, condition)
        if times:
            erased.append((spool, number, sorted(times)))
            unchained -= sum(time < since for time in times.values())
    return erased, unchained


def _bury(
    connection: sa.Connection, spool: str, number: int, chained: Chained, condition: sa.ColumnElement[bool]
) -> dict[int, str]:
    """Make tombstones in one batch; returns their positions with the times of the rows."""
    batch = _batch(connection, spool, number)
    there = [own for own in batch["ids"] if own is not None]
    meant: dict[str, str] = {}
    for at in range(0, len(there), PORTION):
        own = chained.table.c[chained.key]
        query = sa.select(own, chained.table.c.time).where(own.in_(there[at : at + PORTION]), condition)
        meant.update(map(tuple, connection.execute(query)))
    places = {at: meant[own] for at, own in enumerate(batch["ids"]) if own in meant}
    if places:
        _empty(connection, batch, places)
    return places


def _batch(connection: sa.Connection, spool: str, number: int) -> dict[str, Any]:
    """A batch, with its ids as a list. Nobody else changes it until this transaction ends.

    Of one whose ids were damaged by hand the list is empty: the walk names that batch anyway, and it holds up no erasure.
    """
    mine = sa.and_(chain.c.spool == spool, chain.c.number == number)
    found = connection.execute(sa.select(chain).where(mine).with_for_update()).mappings().one()
    try:
        ids = json.loads(found["ids"])
    except (ValueError, RecursionError):
        ids = None
    whole = isinstance(ids, list) and all(own is None or isinstance(own, str) for own in ids)
    return {**found, "ids": ids if whole else []}


def _empty(connection: sa.Connection, batch: dict[str, Any], places: Iterable[int]) -> None:
    """Take the ids and the salts at these positions out of a batch."""
    ids, salts = list(batch["ids"]), bytearray(batch["salts"])
    for at in places:
        ids[at] = None
        salts[at * SALT : (at + 1) * SALT] = bytes(SALT)
    values = {"ids": json.dumps(ids, separators=(",", ":"), ensure_ascii=False), "salts": bytes(salts)}
    mine = sa.and_(chain.c.spool == batch["spool"], chain.c.number == batch["number"])
    connection.execute(sa.update(chain).where(mine).values(**values))


def _of(joined: bytes, at: int, size: int) -> bytes:
    return joined[at * size : (at + 1) * size]


def _since(connection: sa.Connection, kind: str) -> str:
    """The time from which on rows are chained, which the last batch of this kind has; empty where there is none."""
    return connection.scalar(_NOTES.where(chain.c.kind == kind)) or ""


def _holding(
    connection: sa.Connection, condition: sa.ColumnElement[bool], before: str | None
) -> Iterator[tuple[str, int]]:
    """The batches that may have such predictions, each once."""
    named = _NAMED.where(chain.c.kind == PREDICTIONS.kind)
    if before is not None:
        yield from map(tuple, connection.execute(named.where(chain.c.oldest < before)))
        return
    found: dict[Any, None] = {}
    for time in connection.execute(sa.select(predictions.c.time).where(condition).distinct()).scalars():
        found |= dict.fromkeys(
            map(tuple, connection.execute(named.where(chain.c.oldest <= time, chain.c.newest >= time)))
        )
    yield from found


def _with(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Iterator[tuple[str, int]]:
    """The batches that may have such outcomes, each once: all outcomes of a batch have one time."""
    times = list(connection.execute(sa.select(outcomes.c.time).where(condition).distinct()).scalars())
    named = _NAMED.where(chain.c.kind == OUTCOMES.kind)
    for at in range(0, len(times), PORTION):
        yield from map(tuple, connection.execute(named.where(chain.c.newest.in_(times[at : at + PORTION]))))
