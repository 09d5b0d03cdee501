"""From a validated request to answers: what every protocol shares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import msgspec
from flask import Response

from modelbundle.model import Model
from modelbundle.schema import Schema
from modelbundle.validation.validator import MISSING, MOST_COUNTED, Invalid, Many, One, Problem, TooManyRows, unescape
from services.predict.api.request_body import Bodies
from services.predict.serving.loaded_models import Models, NoModel, Serving
from services.predictionlog.record import Buffer
from services.web.problem import Refused
from services.web.request_ids import fresh, several

_encode = msgspec.json.encode
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(slots=True)
class Predictor:
    """What the views need, made once per application.

    ``scored`` is told the band of every row that was answered; ``record`` of every answer, as an array of JSON, before it leaves;
    ``warned`` of the warnings, where there are any.
    """

    models: Models
    bodies: Bodies
    max_rows: int
    max_csv_rows: int
    scored: Callable[[Iterable[str | None]], None] = lambda *_: None
    record: Callable[[Serving, dict[str, Any], One | Many, Buffer], None] = lambda *_: None
    warned: Callable[[Schema, Iterable[dict[str, str]]], None] = lambda *_: None

    def done(
        self,
        serving: Serving,
        environ: dict[str, Any],
        asked: One | Many,
        answers: list[dict[str, Any]],
        encoded: Buffer | None = None,
    ) -> None:
        """n rows were scored: log and count them. ``encoded`` are the answers as an array of JSON, where they were sent so."""
        self.record(serving, environ, asked, _encode(answers) if encoded is None else encoded)
        self.scored([answer["band"] for answer in answers])
        if asked.warnings:
            given = asked.warnings if isinstance(asked, One) else chain.from_iterable(asked.warnings.values())
            self.warned(serving.held.model.schema, given)

    def current(self) -> Serving:
        """What to answer with; raises :class:`Refused` with 503."""
        try:
            return self.models.current()
        except NoModel as error:
            raise no_model(error) from None

    @contextmanager
    def using(self) -> Iterator[Serving]:
        """:meth:`current`, held while the request is being answered."""
        serving = self.current()
        serving.held.in_use.append(None)
        try:
            yield serving
        finally:
            serving.held.in_use.pop()


def no_model(error: NoModel) -> Refused:
    """The answer while there is no model."""
    return Refused(503, f"No model can answer now: {error}.", headers={"Retry-After": "1"})


def misfit(
    error: Invalid | TooManyRows,
    environ: dict[str, Any],
    place: Callable[[str], str] = lambda pointer: pointer,
    what: str = "the model's schema",
) -> Refused:
    """The answer to what does not fit; ``place`` translates pointers into the document that was sent."""
    if isinstance(error, TooManyRows):
        return Refused(413, f"{error}.", max_rows=error.limit)
    errors = [_placed(p, place(p.pointer)) for p in error.problems]
    environ["request.facts"] = {"problem": errors[0], "problems": error.total}
    count = "1 problem" if error.total == 1 else f"{error.total} problems"
    if error.total >= MOST_COUNTED:
        count = f"at least {count}"
    return Refused(422, f"The request does not fit {what}: {count}.", errors)


def _placed(problem: Problem, pointer: str) -> dict[str, str]:
    """What is missing stands nowhere, so where the pointer cannot name it, the detail does."""
    detail = problem.detail
    if detail == MISSING and not pointer.endswith(problem.pointer):
        detail = f"`{unescape(problem.pointer.rpartition('/')[2])}` {MISSING}"
    return {"pointer": pointer, "detail": detail}


def idempotency_key(environ: dict[str, Any]) -> str | None:
    """The caller's key for this request, if there is one; raises :class:`Refused` with 400 where it cannot be one."""
    key: str | None = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _KEY.fullmatch(key):
        raise Refused(400, "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return key


def one(model: Model, asked: One, prediction_id: str, every_term: bool) -> dict[str, Any]:
    """The answer object of one row."""
    answer = model.answer(asked.row, every_term)
    return _complete(answer, model.version, prediction_id, asked.id, asked.warnings)


def many(model: Model, asked: Many, key: str | None, every_term: bool, first: int = 0) -> list[dict[str, Any]]:
    """The answer objects of n rows, in order; ``first`` is the position in the request of the first of them."""
    answers = model.answers(asked.columns, every_term)
    plain = [column if isinstance(column, list) else column.tolist() for column in asked.columns] if key else []
    rows = zip(*plain, strict=True)
    ids = prediction_ids(asked.rows, key, model.version, rows, first)
    own = asked.ids or [None] * asked.rows
    none: list[dict[str, str]] = []
    warnings = map(asked.warnings.get, range(asked.rows), repeat(none))
    for answer, prediction_id, reference, warned in zip(answers, ids, own, warnings, strict=True):
        _complete(answer, model.version, prediction_id, reference, warned)
    return answers


def each(model: Model, asked: One | Many, key: str | None) -> list[dict[str, Any]]:
    """The answer objects, in order, for protocols that always answer with a list."""
    if isinstance(asked, Many):
        return many(model, asked, key, False)
    return [one(model, asked, prediction_ids(1, key, model.version, [asked.row])[0], False)]


def _complete(
    answer: dict[str, Any], version: str, prediction_id: str, own: str | None, warnings: Any
) -> dict[str, Any]:
    answer["model_version"] = version
    answer["prediction_id"] = prediction_id
    answer["id"] = own
    answer["warnings"] = warnings
    return answer


def prediction_ids(rows: int, key: str | None, version: str, values: Any, first: int = 0) -> list[str]:
    """One id of 32 hex digits per row: new, or derived from the idempotency key, the row and the model's version."""
    if not key:
        return several(rows) if rows > 1 else [fresh()]
    start = hashlib.sha256(f"{version}\0{key}".encode("utf-8", "surrogateescape"))
    ids = []
    for position, row in enumerate(values, first):
        derived = start.copy()
        derived.update(f"\0{position}\0{[None if v != v else v for v in row]!r}".encode("utf-8", "surrogatepass"))
        ids.append(derived.hexdigest()[:32])
    return ids


def array(body: bytes) -> memoryview:
    """The array in an object whose other members have none, where it stands."""
    return memoryview(body)[body.index(b"[") : body.rindex(b"]") + 1]


class Answer(Response):
    """A body of JSON that is complete, with 200: there is nothing to work out when it is sent, as there is for any other."""

    def __init__(self, body: bytes) -> None:
        super().__init__(headers=[("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        self.response = [body]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send it."""
        del environ
        start_response(self.status, self.headers.to_wsgi_list())
        return self.response  # type: ignore[return-value]


def signed(response: Response, serving: Serving, environ: dict[str, Any], rows: int) -> Response:
    """``response`` with the headers that name its model, noted for the log."""
    version, generation = serving.held.model.version, serving.generation.number
    environ["request.facts"] = {"model_version": version, "generation": generation, "rows": rows}
    response.headers.add("X-Model-Version", version)
    response.headers.add("X-Model-Generation", str(generation))
    return response
