"""A reported outcome, and the result of recording it. Imports no database."""

from __future__ import annotations

from dataclasses import dataclass

from modelbundle.format.outcome import UNNAMED, Label, encoded

Known = tuple[str, str]  # an outcome in the database: its name, and the JSON of its value
RECORDED, REPEATED, CONTRADICTED, UNKNOWN = "recorded", "repeated", "contradicted", "unknown"
WAITING, INVALID = "waiting", "invalid"
STATUSES = (RECORDED, REPEATED, CONTRADICTED, UNKNOWN, WAITING, INVALID)


@dataclass(frozen=True, slots=True)
class Claim:
    """One outcome. Either ``prediction_id`` or ``record_id``, the caller's own reference, is set.

    With ``record_id`` the claim is about all predictions with that reference that have no outcome yet; where ``before`` (a time
    of the database) is set, only about those made before it. Where all have an outcome, the latest one is compared. ``name`` and
    ``value`` are of the outcome as the model's bundle names it (:mod:`modelbundle.format.outcome`).
    """

    prediction_id: str | None
    record_id: str | None
    before: str | None
    value: Label
    name: str = UNNAMED.name

    @property
    def known(self) -> Known:
        """The outcome as the database has it."""
        return self.name, encoded(self.value)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a claim: one of :data:`STATUSES`, and the predictions that the claim is about."""

    status: str
    prediction_ids: tuple[str, ...] = ()
    detail: str = ""
