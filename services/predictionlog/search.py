"""Searches the predictions, a page at a time, newest first.

A page costs the same however many rows the log has: each query walks an index in the order of time, from where the page before
ended, and stops when the page is full. A search by model or band walks once for each model and band that there is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.predictionlog.audit import as_written
from services.predictionlog.database import outcomes, predictions

MOST_WALKS = 500  # models times bands
SHOWN = (
    "prediction_id",
    "time",
    "request_id",
    "record_id",
    "key_name",
    "model_version",
    "generation",
    "probability",
    "band",
)
IDS = ("prediction_id", "request_id", "record_id")
END = "9999-12-31T23:59:59.999999+00:00"  # after all times, in every collation
Condition = sa.ColumnElement[bool]
_HEX_END = "g"  # after all digits of a version


class TooWide(Exception):
    """A search that was given up, because it took too long or would; the message says so."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends: the time and the id of its last row."""

    time: str
    prediction_id: str


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for; what is None does not matter.

    ``any_id`` is a prediction id, a request id or the caller's own id; ``record_id`` the caller's own only. ``since`` and
    ``before`` are times as the log has them; ``model`` is how a version begins.
    """

    any_id: str | None = None
    prediction_id: str | None = None
    request_id: str | None = None
    record_id: str | None = None
    since: str | None = None
    before: str | None = None
    model: str | None = None
    band: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of :data:`SHOWN` with ``outcome``, newest first. ``end`` is where the next page goes on; None after the last."""

    rows: list[dict[str, Any]]
    end: Place | None


def page(engine: sa.Engine, wanted: Search, after: Place | None, size: int, seconds: float) -> Page:
    """The page after a place, the first by default.

    Raises :class:`TooWide` after about ``seconds``, and :class:`sqlalchemy.exc.SQLAlchemyError`.
    """
    end = time.monotonic() + seconds
    places: set[tuple[str, str]] = set()
    with engine.connect() as connection:
        for query in _walks(connection, wanted, after, size + 1):
            if time.monotonic() > end:
                raise TooWide("The search takes too long: say more of what is searched for.")
            places.update((row[0], row[1]) for row in connection.execute(query))
        chosen = sorted(places, reverse=True)[:size]
        found = {row["prediction_id"]: row for row in _rows(connection, [own for _, own in chosen])} if chosen else {}
    rows = [found[own] for _, own in chosen if own in found]  # what was erased meanwhile is not
    return Page(rows, Place(*chosen[-1]) if len(places) > size else None)


def _walks(connection: sa.Connection, wanted: Search, after: Place | None, size: int) -> Iterator[sa.Select[Any]]:
    own, moment = predictions.c.prediction_id, predictions.c.time
    if after is None or (wanted.before is not None and after.time >= wanted.before):
        limits = [moment < (wanted.before or END)]
    else:  # one bound for the index; what it has of that very time is left out by hand
        limits = [moment <= after.time, sa.not_(sa.and_(moment == after.time, own >= after.prediction_id))]
    if wanted.since is not None:
        limits.append(moment >= wanted.since)
    for condition in _ways(connection, wanted):
        query = sa.select(moment, own).where(condition, *limits)
        yield query.order_by(moment.desc(), own.desc()).limit(size)


def _ways(connection: sa.Connection, wanted: Search) -> Iterable[Condition]:
    """Conditions of which each is for one index; together they are the search."""
    exact = [predictions.c[name] == getattr(wanted, name) for name in IDS if getattr(wanted, name) is not None]
    if wanted.any_id is not None:
        return (sa.and_(predictions.c[name] == wanted.any_id, *exact, *_rest(wanted)) for name in IDS)
    if exact:
        return [sa.and_(*exact, *_rest(wanted))]
    if wanted.model is not None or wanted.band is not None:
        return _models_and_bands(connection, wanted)
    return [sa.true()]


def _rest(wanted: Search) -> Iterator[Condition]:
    if wanted.model is not None:
        yield from _begins(wanted.model)
    if wanted.band is not None:
        yield predictions.c.band == wanted.band


def _begins(prefix: str) -> tuple[Condition, Condition]:
    return predictions.c.model_version >= prefix, predictions.c.model_version < prefix + _HEX_END


def _models_and_bands(connection: sa.Connection, wanted: Search) -> Iterator[Condition]:
    walks = 0
    version, band = predictions.c.model_version, predictions.c.band
    prefix = wanted.model or ""
    for model in _distinct(connection, version, prefix, _begins(prefix)[1]):
        bands: Iterable[str | None] = [wanted.band]
        if wanted.band is None:
            bands = (None, *_distinct(connection, band, "", version == model))
        for label in bands:
            walks += 1
            if walks > MOST_WALKS:
                raise TooWide("That are too many models: begin with more of the model's version.")
            yield sa.and_(version == model, band.is_(None) if label is None else band == label)


def _distinct(connection: sa.Connection, column: sa.Column[Any], first: str, condition: Condition) -> Iterator[str]:
    """The values of a column from ``first``, each by one step in its index, which takes one lower bound."""
    query = sa.select(sa.func.min(column)).where(condition)
    found = connection.scalar(query.where(column >= first))
    while found is not None:
        yield found
        found = connection.scalar(query.where(column > found))


def _rows(connection: sa.Connection, ids: list[str]) -> Iterator[dict[str, Any]]:
    columns = [predictions.c[name] for name in SHOWN]
    query = (
        sa.select(*columns, outcomes.c.name, outcomes.c.value)
        .outerjoin(outcomes, outcomes.c.prediction_id == predictions.c.prediction_id)
        .where(predictions.c.prediction_id.in_(ids))
    )
    for row in connection.execute(query).mappings():
        shown = {name: row[name] for name in SHOWN}
        yield {
            **shown,
            "outcome": None if row["value"] is None else {"name": row["name"], "value": as_written(row["value"])},
        }
