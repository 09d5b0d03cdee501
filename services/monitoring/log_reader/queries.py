"""What monitoring asks of the prediction log.

While SQLite reads, nobody writes: so every question looks at a page of rows and no more, however many there are. A page is what
came after one time, up to and with another; an ISO 8601 time without its fraction sorts before all of its second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from services.monitoring.analysis.traffic import Count
from services.predictionlog.database import challenges, connect, events, outcomes, predictions
from services.predictionlog.event import CORRECTION, ERASURE
from services.web.request_ids import RANDOM

Floats = NDArray[np.float64]
MOST_EVENTS = 100
SECONDS = 10  # that one question may take
_MINUTE = 16  # characters of an ISO 8601 time up to its minute


class NoLog(LookupError):
    """There is no prediction log yet."""


class Row(NamedTuple):
    """What is looked into of a prediction; ``drawn`` are the random digits of its id, and ``input`` is JSON."""

    drawn: str
    input: str
    probability: float


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows whose outcome is known: of ``total``, those with the smallest ``drawn``. ``other`` is the challenger's probability."""

    total: int
    drawn: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    probabilities: Floats
    since: str
    until: str
    other: Floats | None = None

    @classmethod
    def of(cls, rows: Sequence[Any]) -> Judged:
        """Of rows of drawn, time, label, probability and perhaps the challenger's."""
        drawn, times, labels, probabilities, *others = zip(*rows, strict=True)
        return cls(
            len(rows),
            np.array([own.encode() for own in drawn]),
            np.array(labels, dtype=np.int64),
            np.array(probabilities, dtype=np.float64),
            min(times),
            max(times),
            np.array(others[0], dtype=np.float64) if others else None,
        )

    def and_(self, more: Judged, most: int) -> Judged:
        """Both together; ``most`` rows are kept."""
        drawn = np.concatenate([self.drawn, more.drawn])
        kept = np.argsort(drawn, kind="stable")[:most]
        return Judged(
            self.total + more.total,
            drawn[kept],
            np.concatenate([self.labels, more.labels])[kept],
            np.concatenate([self.probabilities, more.probabilities])[kept],
            min(self.since, more.since),
            max(self.until, more.until),
            None if self.other is None or more.other is None else np.concatenate([self.other, more.other])[kept],
        )


class Log:
    """Reads the database. Methods raise :class:`sqlalchemy.exc.SQLAlchemyError`, also when an answer takes longer than
    :data:`SECONDS`, and :class:`NoLog` before the first row came.

    Samples are the rows whose ids have the smallest random digits: a random sample, and the same one every time.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.engine = connect(url, SECONDS, reading=True)
        self._connection: sa.Connection | None = None

    @contextmanager
    def connected(self) -> Iterator[None]:
        """One connection for all questions until the end, instead of one for each."""
        with self.engine.connect() as self._connection:
            try:
                yield
            finally:
                self._connection = None

    def check(self) -> None:
        """Raise :class:`NoLog` where there is no file, or no tables in it."""
        file = self.url.get_backend_name() == "sqlite" and self.url.database not in (None, "", ":memory:")
        if file and not Path(str(self.url.database)).exists():
            raise NoLog("there is no prediction log yet")
        if not sa.inspect(self.engine).has_table(challenges.name):
            raise NoLog("the prediction log has no tables yet")

    def first(self) -> str | None:
        """The time of the oldest prediction."""
        found: str | None = self._all(sa.select(sa.func.min(predictions.c.time)))[0][0]
        return found

    # --- predictions -----------------------------------------------------------------------------------------------------

    def page(self, after: str, upto: str, rows: int) -> str:
        """Where a page of ``rows`` predictions ends: at most there, at ``upto``. Rows of one time stay together."""
        return self._page(predictions.c.time, sa.true(), after, upto, rows)

    def held(self, after: str, upto: str, most: int) -> int:
        """How many predictions there are, or ``most`` where there are more: from the index alone."""
        some = sa.select(predictions.c.time).where(_page_of(predictions.c.time, after, upto)).limit(most).subquery()
        number: int = self._all(sa.select(sa.func.count()).select_from(some))[0][0]
        return number

    def counts(self, after: str, upto: str) -> list[Count]:
        """All rows of a page, counted by version, minute and band."""
        minute = sa.func.substr(predictions.c.time, 1, _MINUTE).label("minute")
        groups = (predictions.c.model_version, minute, predictions.c.band)
        query = (
            sa.select(*groups, sa.func.count(), sa.func.sum(predictions.c.probability), sa.func.max(_LAST))
            .where(_page_of(predictions.c.time, after, upto))
            .group_by(*groups)
        )
        return [
            Count(version, _seconds(text), band, rows, total, last)
            for version, text, band, rows, total, last in self._all(query)
        ]

    def sample(self, version: str, after: str, upto: str, most: int, below: str | None = None) -> list[Row]:
        """At most ``most`` rows of a version in a page: those with the smallest ``drawn``, where it is less than ``below``."""
        # Not the column itself: the index on it that databases have which were not migrated would lead through all rows.
        version_alone = predictions.c.model_version + sa.literal_column("''")
        query = (
            sa.select(_DRAWN, predictions.c.input, predictions.c.probability)
            .where(_page_of(predictions.c.time, after, upto), version_alone == version)
            .order_by(_DRAWN)
            .limit(most)
        )
        if below is not None:
            query = query.where(below > _DRAWN)
        return [Row(*row) for row in self._all(query)]

    # --- challenges ------------------------------------------------------------------------------------------------------

    def challengers(self) -> list[str]:
        """All versions that ever scored beside another: a step of the index for each."""
        found: list[str] = []
        while True:
            query = sa.select(sa.func.min(challenges.c.model_version))
            after = self._all(query.where(challenges.c.model_version > found[-1]) if found else query)[0][0]
            if after is None:
                return found
            found.append(after)

    def challenge_page(self, challenger: str, after: str, upto: str, rows: int) -> str:
        """Where a page of what this one scored ends; as :meth:`page`."""
        return self._page(challenges.c.time, challenges.c.model_version == challenger, after, upto, rows)

    def compared(self, challenger: str, after: str, upto: str) -> list[tuple[str, int, float, str]]:
        """The champions whose rows this challenger scored: version, rows, sum of challenger minus champion, last time."""
        difference = sa.func.sum(challenges.c.probability - predictions.c.probability)
        query = (
            sa.select(predictions.c.model_version, sa.func.count(), difference, sa.func.max(challenges.c.time))
            .select_from(challenges.join(predictions, predictions.c.prediction_id == challenges.c.prediction_id))
            .where(challenges.c.model_version == challenger, _page_of(challenges.c.time, after, upto))
            .group_by(predictions.c.model_version)
        )
        return [tuple(row) for row in self._all(query)]

    # --- outcomes --------------------------------------------------------------------------------------------------------

    def outcome_page(self, after: str, upto: str, rows: int) -> str:
        """Where a page of outcomes ends, by the time that they came; as :meth:`page`."""
        return self._page(outcomes.c.time, sa.true(), after, upto, rows)

    def judged(self, after: str, upto: str) -> list[tuple[Any, ...]]:
        """A page of outcomes: version, drawn, time, label and probability of the prediction."""
        own = outcomes.join(predictions, outcomes.c.prediction_id == predictions.c.prediction_id)
        query = sa.select(predictions.c.model_version, *_JUDGED).select_from(own)
        return [tuple(row) for row in self._all(query.where(_page_of(outcomes.c.time, after, upto)))]

    def judged_beside(self, after: str, upto: str) -> list[tuple[Any, ...]]:
        """The same, of those that a challenger scored too: its version comes second, its probability last."""
        own = outcomes.join(predictions, outcomes.c.prediction_id == predictions.c.prediction_id).join(
            challenges, challenges.c.prediction_id == outcomes.c.prediction_id
        )
        columns = (predictions.c.model_version, challenges.c.model_version, *_JUDGED, challenges.c.probability)
        query = sa.select(*columns).select_from(own)
        return [tuple(row) for row in self._all(query.where(_page_of(outcomes.c.time, after, upto)))]

    # --- events ----------------------------------------------------------------------------------------------------------

    def rewritten(self) -> tuple[int | None, ...]:
        """Another value means that outcomes were corrected or predictions erased."""
        kinds = (CORRECTION, ERASURE)
        last = sa.func.max(events.c.id)
        return tuple(self._all(sa.select(last).where(events.c.kind == kind))[0][0] for kind in kinds)

    def events(self, since: float) -> list[dict[str, Any]]:
        """What happened since then, latest first: ``time``, ``kind`` and ``detail``."""
        query = (
            sa.select(events.c.time, events.c.kind, events.c.detail)
            .where(events.c.time >= iso(since))
            .order_by(events.c.time.desc(), events.c.id.desc())
            .limit(MOST_EVENTS)
        )
        return [{"time": row[0], "kind": row[1], "detail": json.loads(row[2])} for row in self._all(query)]

    def _page(self, time: sa.Column[str], wanted: sa.ColumnElement[bool], after: str, upto: str, rows: int) -> str:
        query = sa.select(time).where(wanted, _page_of(time, after, upto)).order_by(time).offset(rows - 1).limit(1)
        found = self._all(query)
        return str(found[0][0]) if found else upto

    def _all(self, query: sa.Executable) -> list[Any]:
        with nullcontext(self._connection) if self._connection else self.engine.connect() as connection:
            return list(connection.execute(query).all())


def iso(seconds: float) -> str:
    """A Unix time as the log has it: ISO 8601 in UTC, which sorts as it is."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def edge(seconds: float) -> str:
    """Before all rows of this second, and after all of the one before."""
    return datetime.fromtimestamp(seconds // 1, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def _page_of(time: sa.Column[str], after: str, upto: str) -> sa.ColumnElement[bool]:
    return (time > after) & (time <= upto)


_LAST = predictions.c.time + predictions.c.prediction_id
_DRAWN = sa.func.substr(predictions.c.prediction_id, 33 - RANDOM)
_JUDGED = (_DRAWN, predictions.c.time, outcomes.c.is_late, predictions.c.probability)


def _seconds(minute: str) -> int:
    return int(datetime.fromisoformat(minute).replace(tzinfo=UTC).timestamp())
