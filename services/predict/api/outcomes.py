"""``POST /outcomes``: what became of the rows that were scored, as the bundle names it. One object, several, or CSV; recorded in
the database of the prediction log.

It is not on the way of predictions: it may wait for the database, for a bounded time, and few do so at once. The database's
library is imported with the first outcome, so that a replica that gets none does not carry it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from flask import Blueprint, Request, Response, request

from modelbundle.format.outcome import UNNAMED, Outcome
from modelbundle.validation.problems import Invalid, TooManyRows, escape
from services.predict.api import api_keys, csv_table, outcome_parser
from services.predict.api.csv_table import Table
from services.predict.api.request_body import BodyReader, check_type
from services.predict.api.responses import refusal
from services.predict.metrics import counters
from services.predict.serving.loaded_models import Models, NoModel
from services.predict.settings import NO_LOG, Settings
from services.predictionlog import spool
from services.predictionlog.outcome import CONTRADICTED, INVALID, STATUSES, UNKNOWN, WAITING, Claim, Result
from services.web import json_logging
from services.web.hosts import loopback
from services.web.problem import Refused, retry_after

ROLES = {"outcomes.take": (api_keys.PREDICT, api_keys.OUTCOMES)}  # of keys, by endpoint
AT_ONCE = 2  # per worker; the other threads are for predictions
SECONDS = 5  # for the database
PATIENCE = 3.0  # seconds that a prediction may take from the spool into the database
LOOK = 0.1
CHUNK = 500  # rows of a CSV whose cells are in memory at a time
CLAIM_BYTES = 500  # of memory that a row takes until it is answered
DETAILS = {
    CONTRADICTED: "another outcome is recorded; the first one stays",
    UNKNOWN: "no prediction in the log is known by this",
    WAITING: "the prediction may still be on its way to the database: send this again",
}
CLOSED = (
    "Outcomes need a key where the API listens beyond this machine, and no keys are set: "
    "make one with `python -m services.predict.api.api_keys NAME`, and set API_KEYS_FILE."
)
AWAY = "The database of the prediction log cannot be used now: send this again. What was recorded already counts once."


class OutcomeRecorder:
    """Records claims. ``url`` is that of the prediction log."""

    def __init__(self, settings: Settings, bodies: BodyReader) -> None:
        self.settings = settings
        self.bodies = bodies
        self.root = settings.data_dir / "spool"
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._engine: Any = None

    def admit(self) -> None:
        """Raise :class:`Refused` where nobody may send outcomes."""
        if not self.settings.api_keys_file and not loopback(self.settings.host):
            raise Refused(403, CLOSED)
        if self.settings.prediction_log_url == NO_LOG:
            raise Refused(
                501, "This server keeps no prediction log (PREDICTION_LOG_URL=none), so there is nothing to add to."
            )

    def record(self, wanted: Sequence[Claim], environ: Mapping[str, Any]) -> list[Result]:
        """What came of each claim, in order; raises :class:`Refused` with 503.

        A key without the role for it can claim its own caller's predictions only; others are unknown to it.
        """
        key_name = environ.get("request.key")
        whose = key_name if api_keys.OUTCOMES not in environ.get("request.roles", api_keys.ROLES) else None
        with self._place():
            before = spool.waiting(self.root)
            try:
                results = self._record(wanted, key_name, whose)
                late = [i for i, result in enumerate(results) if result.status == UNKNOWN]
                if late and before:
                    arrived = self._arrived(before)
                    again = self._record([wanted[i] for i in late], key_name, whose)
                    for i, result in zip(late, again, strict=True):
                        results[i] = Result(WAITING) if result.status == UNKNOWN and not arrived else result
            except self._errors() as error:
                json_logging.emit(
                    "outcomes not recorded", "error", reason=type(getattr(error, "orig", None) or error).__name__
                )
                raise Refused(503, AWAY, headers=retry_after(5)) from None
        for status, number in Tally(result.status for result in results).items():
            counters.outcomes.labels(status).inc(number)
        return [Result(r.status, r.prediction_ids, DETAILS.get(r.status, "")) for r in results]

    def _record(self, wanted: Sequence[Claim], key_name: str | None, whose: str | None) -> list[Result]:
        from services.predictionlog import database, outcomes

        with self._lock:
            if self._engine is None:
                self._engine = database.connect(self.settings.prediction_log_url, SECONDS)
        return outcomes.record(self._engine, wanted, key_name, whose)

    def _errors(self) -> type[Exception]:
        from sqlalchemy.exc import SQLAlchemyError

        return SQLAlchemyError

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Refused(503, "Others are recording outcomes; try again.", headers=retry_after(1))
        try:
            yield
        finally:
            self._places.release()

    def _arrived(self, before: frozenset[str]) -> bool:
        """Whether all that waited in this host's spool ``before`` came into the database, within :data:`PATIENCE`."""
        deadline = time.monotonic() + PATIENCE
        while before & spool.waiting(self.root):
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK)
        return True


def named(models: Models) -> Outcome:
    """The outcome of the current model, also while it may not answer; of a model that names none before there was any."""
    try:
        return models.resolve().model.manifest.outcome
    except NoModel:
        return UNNAMED


def blueprint(outcomes: OutcomeRecorder, models: Models | None = None) -> Blueprint:
    """The view ``POST /outcomes``; without ``models``, of a model that names no outcome."""
    views = Blueprint("outcomes", __name__)

    @views.post("/outcomes")
    def take() -> Response:
        """Record what was sent."""
        outcomes.admit()
        environ = request.environ
        outcome = named(models) if models else UNNAMED
        try:
            if environ.get("CONTENT_TYPE", "")[:8].lower() == "text/csv":
                return _sheet(outcomes, request, outcome)
            check_type(request)
            body = outcomes.bodies.read(request)
            document = outcomes.bodies.document(body, environ, outcomes.settings.max_rows)
            wanted, single = outcome_parser.read(document, outcomes.settings.max_rows, outcome)
        except (Invalid, TooManyRows) as error:
            raise refusal(error, environ, what="the form of outcomes") from None
        results = outcomes.record(wanted, environ)
        counts = _noted(results, environ)
        rows = [_shown(claim, result) for claim, result in zip(wanted, results, strict=True)]
        if single:
            _raise(results[0], outcome)
            return _json(rows[0])
        return _json({"outcomes": rows, **counts})

    return views


def _sheet(outcomes: OutcomeRecorder, asked: Request, outcome: Outcome) -> Response:
    csv_table.check_type(asked)
    body = outcomes.bodies.read(asked)
    sent = Table(body)
    outcome_parser.check(sent, outcome)
    sent.bound(outcomes.settings.max_csv_rows)
    rows = min(csv_table.lines(body), outcomes.settings.max_csv_rows)
    outcomes.bodies.reserve(body, asked.environ, csv_table.CHUNK_BYTES + 2 * len(body) + CLAIM_BYTES * rows)
    found = [outcome_parser.row(sent.header, cells, outcome) for chunk in sent.chunks(CHUNK) for cells in chunk]
    recorded = iter(outcomes.record([c for c in found if isinstance(c, Claim)], asked.environ))
    results = [next(recorded) if isinstance(c, Claim) else Result(INVALID, (), c) for c in found]
    _noted(results, asked.environ)
    return Response(b"".join(_answered(Table(body), results)), mimetype="text/csv")


def _answered(sent: Table, results: Iterable[Result]) -> Iterator[bytes]:
    """The rows again, each with what came of it: read a second time, because all cells at once take many times the body."""
    width, left = len(sent.header), iter(results)
    yield csv_table.encode([[*sent.header, *outcome_parser.ADDED]])
    for chunk in sent.chunks(CHUNK):
        yield csv_table.encode(
            [*cells[:width], *[""] * (width - len(cells)), result.status, result.detail]
            for cells, result in zip(chunk, left, strict=False)  # the chunk is the shorter one
        )


def _noted(results: Sequence[Result], environ: dict[str, Any]) -> dict[str, int]:
    tally = Tally(result.status for result in results)
    environ["request.facts"] = {"outcomes": len(results), **tally}
    return {status: tally[status] for status in STATUSES if status != INVALID}


def _shown(claim: Claim, result: Result) -> dict[str, Any]:
    own = {"id": claim.record_id} if claim.record_id is not None else {}
    shown = {**own, "prediction_ids": result.prediction_ids, claim.name: claim.value, "status": result.status}
    if claim.prediction_id is not None:
        shown["prediction_ids"] = (claim.prediction_id,)
    return {**shown, "detail": result.detail} if result.detail else shown


def _raise(result: Result, outcome: Outcome) -> None:
    sentence = f"{result.detail[:1].upper()}{result.detail[1:]}."
    match result.status:
        case "unknown":
            raise Refused(404, sentence)
        case "contradicted":
            pointer = f"/{escape(outcome.name)}"
            raise Refused(409, sentence, [{"pointer": pointer, "detail": "differs from what is recorded"}])
        case "waiting":
            raise Refused(503, sentence, headers=retry_after(2))


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), 200, mimetype="application/json")
