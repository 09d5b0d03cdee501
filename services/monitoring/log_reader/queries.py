"""The queries of monitoring to the prediction log.

While a process reads SQLite, no process can write. So every query reads one page of rows, however many rows there are. A page has
the rows after one time, up to and including another. An ISO 8601 time without its fraction sorts before all rows of its second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from services.monitoring.analysis.traffic import RowCount
from services.monitoring.log_reader.sampling import SampledRow
from services.predictionlog.database import challenges, connect, events, outcomes, predictions
from services.predictionlog.event import CHAIN, CORRECTION, ERASURE, EXPORT, LOOKUP
from services.web.request_ids import RANDOM
from services.web.timestamps import iso, parse

Floats = NDArray[np.float64]
MOST_EVENTS = 100
SECONDS = 10  # a longer query is interrupted
_MINUTE = 16  # characters of an ISO 8601 time up to its minute


class NoLog(LookupError):
    """There is no prediction log yet."""


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Predictions with known outcomes: a sample of ``total``. ``other`` are the challenger's probabilities."""

    total: int
    drawn: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    probabilities: Floats
    since: str
    until: str
    other: Floats | None = None

    @classmethod
    def of(cls, rows: Sequence[Any]) -> LabelledRows:
        """From rows of label, ``drawn``, time, probability and, where there is one, the challenger's probability."""
        labels, drawn, times, probabilities, *others = zip(*rows, strict=True)
        return cls(
            len(rows),
            np.array([own.encode() for own in drawn]),
            np.array(labels, dtype=np.int64),
            np.array(probabilities, dtype=np.float64),
            min(times),
            max(times),
            np.array(others[0], dtype=np.float64) if others else None,
        )

    def merge(self, more: LabelledRows, most: int) -> LabelledRows:
        """Both samples together, at most ``most`` rows: those with the smallest ``drawn``."""
        drawn = np.concatenate([self.drawn, more.drawn])
        kept = np.argsort(drawn, kind="stable")[:most]
        return LabelledRows(
            self.total + more.total,
            drawn[kept],
            np.concatenate([self.labels, more.labels])[kept],
            np.concatenate([self.probabilities, more.probabilities])[kept],
            min(self.since, more.since),
            max(self.until, more.until),
            None if self.other is None or more.other is None else np.concatenate([self.other, more.other])[kept],
        )


class PredictionLog:
    """Reads the database. Methods raise :class:`sqlalchemy.exc.SQLAlchemyError`, also where a query takes longer than
    :data:`SECONDS`.

    A sample has the rows whose ids have the smallest random digits: it is random, and every reader finds the same one.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.engine = connect(url, SECONDS, reading=True)
        self._connection: sa.Connection | None = None

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Use one connection for all queries of the block, instead of one for each."""
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
        """The time at which a page of ``rows`` predictions ends, at most ``upto``. Rows of one time are in one page."""
        return self._page(predictions.c.time, sa.true(), after, upto, rows)

    def count_rows(self, after: str, upto: str, most: int) -> int:
        """The number of predictions, or ``most`` where there are more. The index alone answers."""
        some = sa.select(predictions.c.time).where(_page_of(predictions.c.time, after, upto)).limit(most).subquery()
        number: int = self._all(sa.select(sa.func.count()).select_from(some))[0][0]
        return number

    def counts(self, after: str, upto: str) -> list[RowCount]:
        """The counts of all rows of a page by version, minute and band."""
        minute = sa.func.substr(predictions.c.time, 1, _MINUTE).label("minute")
        groups = (predictions.c.model_version, minute, predictions.c.band)
        query = (
            sa.select(*groups, sa.func.count(), sa.func.sum(predictions.c.probability), sa.func.max(_LAST))
            .where(_page_of(predictions.c.time, after, upto))
            .group_by(*groups)
        )
        return [
            RowCount(version, parse(text), band, rows, total, last)
            for version, text, band, rows, total, last in self._all(query)
        ]

    def sample(self, version: str, after: str, upto: str, most: int, below: str | None = None) -> list[SampledRow]:
        """The sample of a version in a page: at most ``most`` rows, the smallest ``drawn`` first, all smaller than ``below``."""
        # An expression, not the column: databases that are not migrated have an index on it, which would visit all rows.
        version_alone = predictions.c.model_version + sa.literal_column("''")
        query = (
            sa.select(_DRAWN, predictions.c.input, predictions.c.probability)
            .where(_page_of(predictions.c.time, after, upto), version_alone == version)
            .order_by(_DRAWN)
            .limit(most)
        )
        if below is not None:
            query = query.where(below > _DRAWN)
        return [SampledRow(*row) for row in self._all(query)]

    # --- challenges ------------------------------------------------------------------------------------------------------

    def challengers(self) -> list[str]:
        """All versions that were ever a challenger. Each takes one step in the index."""
        found: list[str] = []
        while True:
            query = sa.select(sa.func.min(challenges.c.model_version))
            after = self._all(query.where(challenges.c.model_version > found[-1]) if found else query)[0][0]
            if after is None:
                return found
            found.append(after)

    def challenge_page(self, challenger: str, after: str, upto: str, rows: int) -> str:
        """The end of a page of the rows that this challenger scored, as :meth:`page`."""
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
        """The end of a page of outcomes, by the time of their arrival, as :meth:`page`."""
        return self._page(outcomes.c.time, sa.true(), after, upto, rows)

    def labelled(self, after: str, upto: str) -> list[tuple[Any, ...]]:
        """A page of outcomes in the order in which they became known: version, the outcome's name, value and time, and ``drawn``,
        time and probability of the prediction."""
        own = outcomes.join(predictions, outcomes.c.prediction_id == predictions.c.prediction_id)
        query = sa.select(predictions.c.model_version, *_LABELLED).select_from(own).order_by(*_KNOWN)
        return [tuple(row) for row in self._all(query.where(_page_of(outcomes.c.time, after, upto)))]

    def labelled_with_challenger(self, after: str, upto: str) -> list[tuple[Any, ...]]:
        """Those that a challenger also scored: the challenger's version is the second column, its probability the last."""
        own = outcomes.join(predictions, outcomes.c.prediction_id == predictions.c.prediction_id).join(
            challenges, challenges.c.prediction_id == outcomes.c.prediction_id
        )
        columns = (predictions.c.model_version, challenges.c.model_version, *_LABELLED, challenges.c.probability)
        query = sa.select(*columns).select_from(own).order_by(*_KNOWN)
        return [tuple(row) for row in self._all(query.where(_page_of(outcomes.c.time, after, upto)))]

    # --- events ----------------------------------------------------------------------------------------------------------

    def last_rewrites(self) -> tuple[int | None, ...]:
        """The last correction and the last erasure. Another value means that outcomes were corrected or erased."""
        kinds = (CORRECTION, ERASURE)
        last = sa.func.max(events.c.id)
        return tuple(self._all(sa.select(last).where(events.c.kind == kind))[0][0] for kind in kinds)

    def events(self, since: float) -> list[dict[str, Any]]:
        """The events since then, latest first: ``time``, ``kind`` and ``detail``. Look-ups, exports and chains are not shown."""
        query = (
            sa.select(events.c.time, events.c.kind, events.c.detail)
            .where(events.c.time >= iso(since), events.c.kind.not_in((LOOKUP, EXPORT, CHAIN)))
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


def edge(seconds: float) -> str:
    """A text that sorts before all times of this second, and after all times of the second before."""
    return iso(seconds // 1, "seconds").removesuffix("+00:00")


def _page_of(time: sa.Column[str], after: str, upto: str) -> sa.ColumnElement[bool]:
    return (time > after) & (time <= upto)


_LAST = predictions.c.time + predictions.c.prediction_id
_DRAWN = sa.func.substr(predictions.c.prediction_id, 33 - RANDOM)
_LABELLED = (outcomes.c.name, outcomes.c.value, outcomes.c.time, _DRAWN, predictions.c.time, predictions.c.probability)
_KNOWN = (outcomes.c.time, outcomes.c.prediction_id)  # the order in which outcomes became known
