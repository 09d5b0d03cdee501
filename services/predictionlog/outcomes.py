"""Records outcomes: one per prediction. A recorded outcome stays; repeating it changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.predictionlog.chain import DIRECT
from services.predictionlog.chain.batch import insert
from services.predictionlog.chain.tables import OUTCOMES
from services.predictionlog.database import TOGETHER, outcomes, predictions
from services.predictionlog.outcome import CONTRADICTED, RECORDED, REPEATED, UNKNOWN, Claim, Known, Result
from services.web import timestamps

AT_A_TIME = 1000  # ids in one statement
_KNOWN = sa.select(predictions.c.prediction_id, predictions.c.record_id, predictions.c.time)


@dataclass(frozen=True, slots=True)
class LoggedPrediction:
    """A prediction that a claim is about."""

    id: str
    record_id: str | None
    time: str


def record(engine: sa.Engine, claims: Sequence[Claim], key_name: str | None, whose: str | None = None) -> list[Result]:
    """Record the new outcomes in one transaction; returns the result of each claim, in order.

    ``key_name`` is the caller's; with ``whose``, claims are about that caller's predictions only, and others are unknown.
    Raises :class:`sqlalchemy.exc.SQLAlchemyError`. Then nothing was recorded, or everything, where the connection broke during
    the commit. Sending the claims again tells which.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(TOGETHER)  # an erasure waits until the outcome is there; then it erases both
        known = _Claimed(connection, claims, whose)
        results = [known.judge(claim) for claim in claims]
        new = sorted(known.new)  # in one order, so that two requests never wait for each other
        now = timestamps.now()
        if new:
            about = {"time": now, "key_name": key_name}
            pairs = [(own, *known.outcomes[own]) for own in new]
            rows = [{"prediction_id": own, "name": name, "value": value, **about} for own, name, value in pairs]
            insert(connection, DIRECT, OUTCOMES, rows)
        recorded = _outcomes(connection, new)  # another request may have been first
    return [_settled(result, claim, recorded) for result, claim in zip(results, claims, strict=True)]


class _Claimed:
    """The predictions that the claims are about, and their outcomes; ``new`` are the ids whose outcome is from these claims."""

    def __init__(self, connection: sa.Connection, claims: Sequence[Claim], whose: str | None) -> None:
        self.by_id: dict[str, LoggedPrediction] = {}
        self.by_record: dict[str, list[LoggedPrediction]] = defaultdict(list)
        self.new: set[str] = set()
        mine = sa.true() if whose is None else predictions.c.key_name == whose
        for column, wanted in (
            (predictions.c.prediction_id, {c.prediction_id for c in claims if c.prediction_id is not None}),
            (predictions.c.record_id, {c.record_id for c in claims if c.record_id is not None}),
        ):
            for ids in _portions(wanted):
                # The lock keeps also an older version's erasure waiting.
                query = _KNOWN.where(column.in_(ids), mine).with_for_update(read=True)
                for row in connection.execute(query):
                    self.by_id[row[0]] = LoggedPrediction(*row)
        for found in sorted(self.by_id.values(), key=lambda p: (p.time, p.id)):
            if found.record_id is not None:
                self.by_record[found.record_id].append(found)
        self.outcomes = _outcomes(connection, self.by_id)

    def judge(self, claim: Claim) -> Result:
        found = self._about(claim)
        if not found:
            return Result(UNKNOWN)
        still_open = [p.id for p in found if p.id not in self.outcomes]
        if still_open:
            self.outcomes.update(dict.fromkeys(still_open, claim.known))
            self.new.update(still_open)
            return Result(RECORDED, tuple(still_open))
        latest = found[-1].id
        return Result(REPEATED if self.outcomes[latest] == claim.known else CONTRADICTED, (latest,))

    def _about(self, claim: Claim) -> list[LoggedPrediction]:
        if claim.prediction_id is not None:
            found = self.by_id.get(claim.prediction_id)
            return [found] if found else []
        assert claim.record_id is not None
        return [p for p in self.by_record[claim.record_id] if claim.before is None or p.time < claim.before]


def _settled(result: Result, claim: Claim, recorded: dict[str, Known]) -> Result:
    """The result, given the outcomes in the database after the insert."""
    if result.status == RECORDED and any(recorded[own] != claim.known for own in result.prediction_ids):
        return Result(CONTRADICTED, result.prediction_ids)
    return result


def _outcomes(connection: sa.Connection, wanted: Iterable[str]) -> dict[str, Known]:
    found: dict[str, Known] = {}
    for ids in _portions(wanted):
        columns = (outcomes.c.prediction_id, outcomes.c.name, outcomes.c.value)
        query = sa.select(*columns).where(outcomes.c.prediction_id.in_(ids))
        found.update((own, (name, value)) for own, name, value in connection.execute(query))
    return found


def _portions(wanted: Iterable[Any]) -> Iterator[list[Any]]:
    ids = sorted(wanted)
    for start in range(0, len(ids), AT_A_TIME):
        yield ids[start : start + AT_A_TIME]
