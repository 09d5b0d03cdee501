"""Audit and erasure: find a prediction, compute it again from the log and its bundle, correct its outcome, or erase it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from modelbundle.errors import CannotScore
from modelbundle.format import archive, bundle
from modelbundle.format.outcome import Label, Outcome, encoded
from modelbundle.model import Answer, Model
from modelbundle.scorers.base import Row
from modelbundle.validation.problems import Invalid, Problem
from services.predictionlog import event
from services.predictionlog.chain import DIRECT
from services.predictionlog.chain.batch import append
from services.predictionlog.chain.tables import EVENTS, OUTCOMES
from services.predictionlog.chain.tombstones import replace
from services.predictionlog.database import TOGETHER, challenges, events, outcomes, predictions
from services.web import timestamps

JSON = ("probabilities", "input", "reasons", "warnings")
OUTCOME = (
    outcomes.c.name.label("outcome_name"),
    outcomes.c.value.label("outcome_value"),
    outcomes.c.time.label("outcome_time"),
)
CHALLENGES = (
    sa.select(challenges.c.model_version, challenges.c.probability, challenges.c.time)
    .where(challenges.c.prediction_id == sa.bindparam("prediction_id"))
    .order_by(challenges.c.time, challenges.c.model_version)
)
AT_ONCE = 8  # letters that are looked for at a time


class NotFound(LookupError):
    """The log, or the directories of bundles, have no match."""


def find(engine: sa.Engine, wanted: str) -> list[dict[str, Any]]:
    """The predictions with this prediction id, request id or caller's own id, oldest first, each with its outcome, the
    challengers' scores and the letters (:func:`notices`). An outcome is there as ``outcome``, and under its own name. ``damaged``
    names the columns, if any, that hold no JSON, as no version writes them."""
    named = (predictions.c.prediction_id, predictions.c.request_id, predictions.c.record_id)
    return _found(engine, sa.or_(*(column == wanted for column in named)))


def one(engine: sa.Engine, prediction_id: str) -> dict[str, Any]:
    """The prediction with this id, as :func:`find` gives it; raises :class:`NotFound`."""
    for found in _found(engine, predictions.c.prediction_id == prediction_id):
        return found
    raise NotFound(f"no prediction has the id {prediction_id}")


def _found(engine: sa.Engine, condition: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    query = (
        sa.select(predictions, *OUTCOME)
        .outerjoin(outcomes, outcomes.c.prediction_id == predictions.c.prediction_id)
        .where(condition)
        .order_by(predictions.c.time, predictions.c.prediction_id)
    )
    with engine.connect() as connection:
        rows: list[dict[str, Any]] = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            said = connection.execute(CHALLENGES, {"prediction_id": row["prediction_id"]})
            row["challenges"] = [dict(each) for each in said.mappings()]
            row["notices"] = notices(connection, row["prediction_id"])
    return [_read(row) for row in rows]


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its JSON parsed; what is none, or cannot be written again, stays a text."""
    damaged = []
    for column in (*JSON, "outcome_value"):
        try:
            row[column] = row[column] if row[column] is None else _parsed(row[column])
        except (ValueError, RecursionError):
            damaged.append(column)
    name, value = row.pop("outcome_name"), row.pop("outcome_value")
    row["outcome"] = None if value is None else {"name": name, "value": value}
    if value is not None and name:
        row.setdefault(name, value)
    return {**row, "damaged": damaged} if damaged else row


def as_written(text: str) -> Any:
    """What a column of JSON holds; the text itself where it is none, or cannot be written again."""
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        return text


def _parsed(text: str) -> Any:
    value = json.loads(text, parse_constant=_no_number)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def locate(version: str, places: Iterable[Path]) -> Path:
    """The file whose bytes hash to ``version``; raises :class:`NotFound`."""
    for place in places:
        for path in sorted(place.iterdir() if place.is_dir() else ()):
            if path.is_file() and archive.digest(path.read_bytes()) == version:
                return path
    raise NotFound(f"no file hashes to {version}: the model is not kept here")


def reproduce(found: dict[str, Any], path: Path, model: Model | None = None) -> dict[str, Any]:
    """:func:`recompute` with the bundle at ``path``, which ``model`` is where it is loaded already.

    Raises :class:`modelbundle.errors.BundleError`.
    """
    return {"model_file": path.name, **recompute(found, model or bundle.read(path, found["model_version"]))}


def recompute(found: dict[str, Any], model: Model) -> dict[str, Any]:
    """Score the logged input again with the logged version; ``reproduced`` is True where every bit is the same, and ``differs``
    names what is not. Where the input cannot be scored, ``why_not`` says why.

    A pipeline that is asked itself may give other last bits for a row by itself than for one among others: what holds is that no
    probability differs by more than 1e-9.
    """
    try:
        _, answer = answered(found, model)
    except (Invalid, CannotScore) as error:
        why_not = f"the logged input cannot be scored with the logged model ({error})"
        return {"reproduced": False, "differs": ["input"], "why_not": why_not}
    again = {
        "probability": answer.predict_proba[-1],
        "probabilities": answer.predict_proba,
        "band": answer.band,
        "reasons": answer.reasons,
        "contributions": answer.contributions,
        "baseline": answer.baseline,
    }
    if model.scorer.kind == "pipeline":
        differs = [] if _close(answer.predict_proba, found["probabilities"]) else ["probabilities"]
    else:
        differs = [name for name in ("probability", "probabilities", "band", "reasons") if again[name] != found[name]]
    return {"reproduced": not differs, "differs": differs, "again": again}


def answered(found: dict[str, Any], model: Model) -> tuple[Row, Answer]:
    """The logged input as a row, and what the model says to it now, with every term.

    Raises :class:`modelbundle.validation.problems.Invalid` or :class:`modelbundle.errors.CannotScore`.
    """
    if not isinstance(found["input"], dict):
        raise Invalid([Problem("", "is no object")])
    row = model.validator.record(found["input"]).row
    return row, model.answer(row, True)


def _close(found: list[float], logged: Any) -> bool:
    numbers = isinstance(logged, list) and all(isinstance(p, (int, float)) for p in logged)
    return numbers and len(found) == len(logged) and all(abs(a - b) <= 1e-9 for a, b in zip(found, logged, strict=True))


def outcome_of(found: dict[str, Any], places: Iterable[Path]) -> Outcome:
    """The outcome that the model of a found prediction names. Where its file is gone, true and false may be corrected all the
    same; otherwise raises :class:`NotFound`."""
    try:
        path = locate(found["model_version"], places)
        return bundle.read(path, found["model_version"]).manifest.outcome
    except NotFound:
        if found["outcome"] is None or not isinstance(found["outcome"]["value"], bool):
            raise
        return Outcome(found["outcome"]["name"], (False, True))


def correct(engine: sa.Engine, prediction_id: str, value: Label, by: str) -> None:
    """Replace a wrong outcome, and record an event; raises :class:`NotFound` where there is no outcome."""
    mine = outcomes.c.prediction_id == prediction_id
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(TOGETHER)  # an erasure waits
        found = connection.execute(sa.select(outcomes).where(mine).with_for_update()).mappings().one_or_none()
        if found is None:
            raise NotFound(f"no outcome is recorded for the prediction {prediction_id}")
        row = dict(found)
        connection.execute(sa.update(outcomes).where(mine).values(value=encoded(value)))
        replace(connection, OUTCOMES, row, {**row, "value": encoded(value)})
        change = {"from": as_written(row["value"]), "to": value}
        note(connection, event.CORRECTION, {"prediction_id": prediction_id, **change, "by": by})


def note(connection: sa.Connection, kind: str, detail: dict[str, Any], own: str | None = None) -> None:
    """Record an event, and chain it; ``own`` is its id, if it is to be found by that."""
    row = {"event_id": own or uuid.uuid4().hex, "kind": kind, "time": timestamps.now(), "detail": json.dumps(detail)}
    connection.execute(sa.insert(events).values(**row))
    append(connection, DIRECT, EVENTS, [row])


def notices(connection: sa.Connection, prediction_id: str) -> list[dict[str, Any]]:
    """The letters that were written about a prediction, in order: ``time``, ``by`` whom, and the features that are its
    ``reasons``. Of one whose event was changed by hand, what no version writes is left empty."""
    letters: list[dict[str, Any]] = []
    while True:
        ids = [_of_letter(prediction_id, len(letters) + i) for i in range(AT_ONCE)]
        query = sa.select(events.c.event_id, events.c.time, events.c.detail).where(events.c.event_id.in_(ids))
        found = {own: _letter(time, detail) for own, time, detail in connection.execute(query)}
        letters += [found[own] for own in ids if own in found]
        if len(found) < AT_ONCE:
            return letters


def _letter(time: str, detail: str) -> dict[str, Any]:
    said = as_written(detail)
    by, reasons = (said.get("by"), said.get("reasons")) if isinstance(said, dict) else (None, None)
    listed = [text for text in reasons if isinstance(text, str)] if isinstance(reasons, list) else []
    return {"time": time, "by": by if isinstance(by, str) else "", "reasons": listed}


def note_letter(connection: sa.Connection, prediction_id: str, reasons: list[str], by: str) -> None:
    """Record that a letter was written. Raises :class:`sqlalchemy.exc.IntegrityError` where another is recorded meanwhile."""
    number = len(notices(connection, prediction_id))
    detail = {"prediction_id": prediction_id, "reasons": reasons, "by": by}
    note(connection, event.NOTICE, detail, _of_letter(prediction_id, number))


def _of_letter(prediction_id: str, number: int) -> str:
    return event.identity(event.NOTICE, prediction_id, number)


def erase(
    engine: sa.Engine,
    condition: sa.ColumnElement[bool],
    why: dict[str, Any],
    first: Callable[[sa.Connection], dict[str, Any]] = lambda _: {},
) -> int:
    """Delete predictions with their outcomes and challengers' scores, and record an event; returns the number of predictions.

    ``first`` is done before that in the same transaction, and gives more facts of the event.
    :mod:`services.predictionlog.erasure` erases what arrives later too.
    """
    chosen = sa.select(predictions.c.prediction_id).where(condition)
    with engine.begin() as connection:
        more = first(connection)
        connection.execute(sa.delete(outcomes).where(outcomes.c.prediction_id.in_(chosen)))
        gone = connection.execute(sa.delete(predictions).where(condition)).rowcount
        note(connection, event.ERASURE, {**why, **more, "predictions": gone})
    return gone
