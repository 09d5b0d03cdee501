"""What monitoring asks of the prediction log. Every question is bounded, and short: while SQLite reads, nobody writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from services.monitoring.traffic import Count
from services.predictionlog.database import challenges, connect, events, outcomes, predictions

Floats = NDArray[np.float64]
MOST_EVENTS = 100
MOST_VERSIONS = 8
_MINUTE = 16  # characters of an ISO 8601 time up to its minute


class NoLog(LookupError):
    """There is no prediction log yet."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows whose outcome is known: of ``total``, a sample by id. ``other`` is the challenger's probability."""

    total: int
    labels: NDArray[np.int64]
    probabilities: Floats
    since: str
    until: str
    other: Floats | None = None


class Log:
    """Reads the database. Methods raise :class:`sqlalchemy.exc.SQLAlchemyError`, and :class:`NoLog` before the first row came.

    Samples are the rows with the smallest ids. Ids are random, so this is a random sample, and the same one every time.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.engine = connect(url, reading=True)

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

    def counts(self, since: float, until: float) -> list[Count]:
        """All rows from ``since`` up to ``until`` (seconds since 1970), counted by version, minute and band."""
        minute = sa.func.substr(predictions.c.time, 1, _MINUTE).label("minute")
        groups = (predictions.c.model_version, minute, predictions.c.band)
        query = (
            sa.select(*groups, sa.func.count(), sa.func.sum(predictions.c.probability))
            .where(_between(since, until))
            .group_by(*groups)
        )
        return [
            Count(version, _seconds(text), band, rows, total) for version, text, band, rows, total in self._all(query)
        ]

    def sample(self, version: str, since: float, until: float, most: int) -> tuple[list[str], Floats]:
        """Inputs (JSON) and probabilities of at most ``most`` rows of a version."""
        query = (
            sa.select(predictions.c.input, predictions.c.probability)
            .where(_between(since, until), predictions.c.model_version == version)
            .order_by(predictions.c.prediction_id)
            .limit(most)
        )
        rows = self._all(query)
        return [row[0] for row in rows], np.array([row[1] for row in rows], dtype=np.float64)

    def outcomes_seen(self) -> tuple[int, str | None]:
        """How many outcomes there are, and when the latest came: another value means that something is new."""
        rows = self._all(sa.select(sa.func.count(), sa.func.max(outcomes.c.time)))
        return rows[0][0], rows[0][1]

    def judged_versions(self, since: float) -> list[str]:
        """Versions of whose predictions outcomes are known, latest first."""
        last = sa.func.max(predictions.c.time)
        query = (
            sa.select(predictions.c.model_version)
            .join(outcomes, outcomes.c.prediction_id == predictions.c.prediction_id)
            .where(predictions.c.time >= iso(since))
            .group_by(predictions.c.model_version)
            .order_by(last.desc())
            .limit(MOST_VERSIONS)
        )
        return [row[0] for row in self._all(query)]

    def judged(self, version: str, since: float, most: int) -> Judged | None:
        """Predictions of a version since then whose outcome is known; None where there is none."""
        own = outcomes.join(predictions, outcomes.c.prediction_id == predictions.c.prediction_id)
        return self._judged(own, predictions.c.model_version == version, since, most, None)

    def judged_challenge(self, version: str, challenger: str, since: float, most: int) -> Judged | None:
        """The same, of those that a challenger scored too."""
        own = outcomes.join(predictions, outcomes.c.prediction_id == predictions.c.prediction_id).join(
            challenges, challenges.c.prediction_id == predictions.c.prediction_id
        )
        condition = (predictions.c.model_version == version) & (challenges.c.model_version == challenger)
        return self._judged(own, condition, since, most, challenges.c.probability)

    def _judged(
        self, source: sa.FromClause, condition: Any, since: float, most: int, other: sa.Column[float] | None
    ) -> Judged | None:
        wanted = condition & (predictions.c.time >= iso(since))
        facts = (sa.func.count(), sa.func.min(predictions.c.time), sa.func.max(predictions.c.time))
        total, first, last = self._all(sa.select(*facts).select_from(source).where(wanted))[0]
        if not total:
            return None
        columns = [outcomes.c.is_late, predictions.c.probability, *([] if other is None else [other])]
        query = sa.select(*columns).select_from(source).where(wanted).order_by(outcomes.c.prediction_id).limit(most)
        table = np.array([tuple(row) for row in self._all(query)], dtype=np.float64)
        more = table[:, 2] if other is not None else None
        return Judged(total, table[:, 0].astype(np.int64), table[:, 1], first, last, more)

    def challengers(self, version: str, since: float) -> list[tuple[str, int, float]]:
        """Who scored rows of this version beside it since then: version, rows, mean of challenger minus champion."""
        difference = sa.func.avg(challenges.c.probability - predictions.c.probability)
        query = (
            sa.select(challenges.c.model_version, sa.func.count(), difference)
            .join(predictions, predictions.c.prediction_id == challenges.c.prediction_id)
            .where(challenges.c.time >= iso(since), predictions.c.model_version == version)
            .group_by(challenges.c.model_version)
            .order_by(sa.func.count().desc())
            .limit(MOST_VERSIONS)
        )
        return [(row[0], row[1], float(row[2])) for row in self._all(query)]

    def events(self, since: float) -> list[dict[str, Any]]:
        """What happened since then, latest first: ``time``, ``kind`` and ``detail``."""
        query = (
            sa.select(events.c.time, events.c.kind, events.c.detail)
            .where(events.c.time >= iso(since))
            .order_by(events.c.time.desc(), events.c.id.desc())
            .limit(MOST_EVENTS)
        )
        return [{"time": row[0], "kind": row[1], "detail": json.loads(row[2])} for row in self._all(query)]

    def _all(self, query: sa.Executable) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(query).all())


def iso(seconds: float) -> str:
    """A Unix time as the log has it: ISO 8601 in UTC, which sorts as it is."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _between(since: float, until: float) -> sa.ColumnElement[bool]:
    return (predictions.c.time >= iso(since)) & (predictions.c.time < iso(until))


def _seconds(minute: str) -> int:
    return int(datetime.fromisoformat(minute).replace(tzinfo=UTC).timestamp())
