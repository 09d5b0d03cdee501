"""Searches the predictions, a page at a time, newest first.

A page costs the same however many rows the log has: each query walks an index in the order of time, from where the page before
ended, and stops when the page is full. A search by model or band walks once for each model and band that there is.
"""

from __future__ import annotations

import operator
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
Way = tuple[
    sa.Column[Any] | None, str | None, list[Condition]
]  # the column whose index is walked, its value, and what else holds
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
        for walk in _walks(connection, wanted, after):
            if time.monotonic() > end:
                raise TooWide("The search takes too long: say more of what is searched for.")
            places.update(walk.newest(connection, size + 1))
        chosen = sorted(places, reverse=True)[:size]
        found = {row["prediction_id"]: row for row in _rows(connection, [own for _, own in chosen])} if chosen else {}
    rows = [found[own] for _, own in chosen if own in found]  # what was erased meanwhile is not
    return Page(rows, Place(*chosen[-1]) if len(places) > size else None)


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through the index of a column and the time, at one value of the column; where it is None, through that of the time.

    It goes from the time ``since`` to ``last``, and not to ``last`` itself unless ``last_too``.
    """

    column: sa.Column[Any] | None
    value: str | None
    rest: list[Condition]
    since: str
    last: str
    last_too: bool

    def newest(self, connection: sa.Connection, most: int) -> list[tuple[str, str]]:
        """Times and ids of the newest rows, at most ``most``.

        Those of one time are many where a request has many rows, and the index does not sort them. So they are read a second
        time where they are cut.
        """
        own, moment = predictions.c.prediction_id, predictions.c.time
        query = sa.select(moment, own).where(*self.between(), *self.rest).order_by(*self.order()).limit(most)
        found = [(row[0], row[1]) for row in connection.execute(query)]
        if len(found) == most:
            last = found[-1][0]
            same = sa.select(moment, own).where(moment == last, *self.equal(), *self.rest)
            found = [place for place in found if place[0] != last]
            found += [(row[0], row[1]) for row in connection.execute(same.order_by(own.desc()).limit(most))]
        return found

    def order(self) -> list[sa.UnaryExpression[Any]]:
        """By the columns of the index, also where the first has one value: PostgreSQL would else walk the index of the time, past
        all rows that do not fit, where it thinks that many fit.
        """
        columns = [] if self.column is None else [self.column]
        return [column.desc() for column in (*columns, predictions.c.time)]

    def equal(self) -> list[Condition]:
        """What holds besides the time."""
        if self.column is None:
            return []
        return [self.column.is_(None) if self.value is None else self.column == self.value]

    def between(self) -> list[Condition]:
        """What holds with the time: for pairs with the value, for the same reason as the order."""
        moment, below = predictions.c.time, operator.le if self.last_too else operator.lt
        if self.column is None or self.value is None:  # nothing is equal to a missing band
            return [*self.equal(), below(moment, self.last), moment >= self.since]
        pair = sa.tuple_(self.column, moment)
        return [below(pair, _pair(self.value, self.last)), pair >= _pair(self.value, self.since)]


def _pair(value: str, moment: str) -> sa.Tuple:
    return sa.tuple_(sa.literal(value), sa.literal(moment))


def _walks(connection: sa.Connection, wanted: Search, after: Place | None) -> Iterator[_Walk]:
    last, left = wanted.before or END, list[Condition]()
    from_place = after is not None and after.time < last
    if after is not None and from_place:  # one bound for the index; what it has of that very time is left out by hand
        last = after.time
        left = [sa.not_(sa.and_(predictions.c.time == last, predictions.c.prediction_id >= after.prediction_id))]
    for column, value, rest in _ways(connection, wanted):
        yield _Walk(column, value, [*rest, *left], wanted.since or "", last, from_place)


def _ways(connection: sa.Connection, wanted: Search) -> Iterable[Way]:
    """Together they are the search."""
    exact = [name for name in IDS if getattr(wanted, name) is not None]
    rest = [*(predictions.c[name] == getattr(wanted, name) for name in exact[1:]), *_rest(wanted)]
    if wanted.any_id is not None:
        rest += [predictions.c[name] == getattr(wanted, name) for name in exact[:1]]
        return [(predictions.c[name], wanted.any_id, rest) for name in IDS]
    if exact:
        return [(predictions.c[exact[0]], getattr(wanted, exact[0]), rest)]
    if wanted.model is not None or wanted.band is not None:
        return _models_and_bands(connection, wanted)
    return [(None, None, [])]


def _rest(wanted: Search) -> Iterator[Condition]:
    if wanted.model is not None:
        yield from _begins(wanted.model)
    if wanted.band is not None:
        yield predictions.c.band == wanted.band


def _begins(prefix: str) -> tuple[Condition, Condition]:
    return predictions.c.model_version >= prefix, predictions.c.model_version < prefix + _HEX_END


def _models_and_bands(connection: sa.Connection, wanted: Search) -> Iterator[Way]:
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
            yield band, label, [version == model]


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
