"""That a loan was late, or was not, as somebody says, and what comes of saying so. No database is needed to speak of it."""

from __future__ import annotations

from dataclasses import dataclass

RECORDED, REPEATED, CONTRADICTED, UNKNOWN = "recorded", "repeated", "contradicted", "unknown"
WAITING, INVALID = "waiting", "invalid"
STATUSES = (RECORDED, REPEATED, CONTRADICTED, UNKNOWN, WAITING, INVALID)


@dataclass(frozen=True, slots=True)
class Claim:
    """One outcome. Either ``prediction_id`` or ``record_id``, the caller's own reference, is set.

    With ``record_id`` it is about all predictions with that reference that have no outcome yet, made before ``before`` (as the
    database has times) where that is set. Where all of them have one, it is compared with that of the latest.
    """

    prediction_id: str | None
    record_id: str | None
    before: str | None
    is_late: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a claim: one of :data:`STATUSES`, and the predictions it is about."""

    status: str
    prediction_ids: tuple[str, ...] = ()
    detail: str = ""
