"""Audit and erasure: find a prediction, compute it again from the log and its bundle, correct its outcome, or erase it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from modelbundle.format import archive, bundle
from services.predictionlog import event
from services.predictionlog.database import challenges, events, outcomes, predictions
from services.web import timestamps

JSON = ("probabilities", "input", "reasons", "warnings")
CHALLENGES = (
    sa.select(challenges.c.model_version, challenges.c.probability, challenges.c.time)
    .where(challenges.c.prediction_id == sa.bindparam("prediction_id"))
    .order_by(challenges.c.time, challenges.c.model_version)
)


class NotFound(LookupError):
    """The log, or the directories of bundles, have no match."""


def find(engine: sa.Engine, wanted: str) -> list[dict[str, Any]]:
    """The predictions with this prediction id, request id or caller's own id, oldest first, each with its outcome and the
    challengers' scores."""
    query = (
        sa.select(predictions, outcomes.c.is_late, outcomes.c.time.label("outcome_time"))
        .outerjoin(outcomes, outcomes.c.prediction_id == predictions.c.prediction_id)
        .where(
            sa.or_(
                predictions.c.prediction_id == wanted,
                predictions.c.request_id == wanted,
                predictions.c.record_id == wanted,
            )
        )
        .order_by(predictions.c.time, predictions.c.prediction_id)
    )
    with engine.connect() as connection:
        rows: list[dict[str, Any]] = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            said = connection.execute(CHALLENGES, {"prediction_id": row["prediction_id"]})
            row["challenges"] = [dict(one) for one in said.mappings()]
    return [{name: json.loads(value) if name in JSON else value for name, value in row.items()} for row in rows]


def locate(version: str, places: Iterable[Path]) -> Path:
    """The file whose bytes hash to ``version``; raises :class:`NotFound`."""
    for place in places:
        for path in sorted(place.iterdir() if place.is_dir() else ()):
            if path.is_file() and archive.digest(path.read_bytes()) == version:
                return path
    raise NotFound(f"no file hashes to {version}: the model is not kept here")


def reproduce(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """Score the logged input again with the logged version; ``reproduced`` is True where every bit is the same.

    A pipeline that is asked itself may give other last bits for a row by itself than for one among others: what holds is that no
    probability differs by more than 1e-9.
    """
    model = bundle.read(path, found["model_version"])
    asked = model.validator.record(found["input"])
    answer = model.answer(asked.row, True)
    again = {
        "probabilities": answer.predict_proba,
        "band": answer.band,
        "reasons": answer.reasons,
        "contributions": answer.contributions,
        "baseline": answer.baseline,
    }
    same = all(again[name] == found[name] for name in ("probabilities", "band", "reasons"))
    if model.scorer.kind == "pipeline" and len(answer.predict_proba) == len(found["probabilities"]):
        pairs = zip(answer.predict_proba, found["probabilities"], strict=True)
        same = all(abs(a - b) <= 1e-9 for a, b in pairs)
    return {"model_file": path.name, "reproduced": same, "again": again}


def correct(engine: sa.Engine, prediction_id: str, is_late: bool, by: str) -> None:
    """Replace a wrong outcome, and record an event; raises :class:`NotFound` where there is no outcome."""
    mine = outcomes.c.prediction_id == prediction_id
    with engine.begin() as connection:
        before = connection.execute(sa.select(outcomes.c.is_late).where(mine)).scalar_one_or_none()
        if before is None:
            raise NotFound(f"no outcome is recorded for the prediction {prediction_id}")
        connection.execute(sa.update(outcomes).where(mine).values(is_late=is_late))
        _note(connection, event.CORRECTION, {"prediction_id": prediction_id, "from": before, "to": is_late, "by": by})


def _note(connection: sa.Connection, kind: str, detail: dict[str, Any]) -> None:
    row = {"event_id": uuid.uuid4().hex, "kind": kind, "time": timestamps.now(), "detail": json.dumps(detail)}
    connection.execute(sa.insert(events).values(**row))


def erase(engine: sa.Engine, condition: sa.ColumnElement[bool], why: dict[str, Any]) -> int:
    """Delete predictions with their outcomes and challengers' scores, and record an event; returns the number of predictions."""
    chosen = sa.select(predictions.c.prediction_id).where(condition)
    with engine.begin() as connection:
        connection.execute(sa.delete(outcomes).where(outcomes.c.prediction_id.in_(chosen)))
        gone = connection.execute(sa.delete(predictions).where(condition)).rowcount
        _note(connection, event.ERASURE, {**why, "predictions": gone})
    return gone
