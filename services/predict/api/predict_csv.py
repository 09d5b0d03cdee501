"""CSV in, CSV out: the header is checked first, each bad row is marked on its row, and the answer is sent while it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from flask import Request, Response

from modelbundle.model import Model
from modelbundle.validation.validator import Invalid, Many, One, TooManyRows, unescape
from services.predict.api import csv_table
from services.predict.api.csv_table import Table
from services.predict.serving.predictor import Predictor, idempotency_key, many, misfit, one, prediction_ids, signed

CHUNK = 500  # rows that are scored and sent at a time
ADDED = ("prediction", "probability", "band", "reasons", "warnings", "error", "prediction_id", "model_version")
CELLS = "has {} cells where the header has {}"


def answer(predictor: Predictor, request: Request, every_term: bool) -> Response:
    """The rows that were sent, with the columns :data:`ADDED`; ``probability`` is that of the model's last class.

    ``every_term`` adds ``contributions``: an object of JSON.
    """
    csv_table.check_type(request)
    environ = request.environ
    key = idempotency_key(environ)
    sent = Table(predictor.bodies.read(request))
    serving = predictor.current()
    model = serving.held.model
    added = (*ADDED, "contributions") if every_term else ADDED
    if problems := sent.check(model.validator, others=True, added=added):
        raise misfit(Invalid(problems), environ)
    sent.bound(predictor.max_csv_rows)
    response = Response(mimetype="text/csv")
    signed(response, serving, environ, 0)
    environ["request.streams"] = True
    done = partial(predictor.done, serving, environ)
    response.response = _lines(Scorer(model, sent.header, key, every_term, done), sent, added, environ["request.facts"])
    serving.held.in_use.append(None)
    response.call_on_close(serving.held.in_use.pop)
    return response


def _lines(scorer: Scorer, sent: Table, added: Sequence[str], facts: dict[str, Any]) -> Iterator[bytes]:
    yield csv_table.encode([[*sent.header, *added]])
    first, width = 0, len(sent.header)
    for rows in sent.chunks(CHUNK):
        answers = scorer.score(rows, first)
        good = sum("band" in answer for answer in answers)
        facts["rows"] += good
        facts["bad_rows"] = facts.get("bad_rows", 0) + len(rows) - good
        yield csv_table.encode(
            [*row[:width], *[""] * (width - len(row)), *(answer.get(name, "") for name in added)]
            for row, answer in zip(rows, answers, strict=True)
        )
        first += len(rows)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores rows of text below ``header``."""

    model: Model
    header: Sequence[str]
    key: str | None
    every_term: bool
    done: Callable[[One | Many, list[dict[str, Any]]], None]

    def score(self, rows: Sequence[Sequence[str]], first: int) -> list[dict[str, Any]]:
        """The added columns of each row: the answer's, or only ``error``. ``first``: the position of the first of them."""
        if all(len(row) == len(self.header) for row in rows) and len(rows) > 1:
            try:
                asked = self.model.validator.columns(self._columns(rows), len(rows))
            except (Invalid, TooManyRows):
                pass
            else:
                answers = many(self.model, asked, self.key, self.every_term, first)  # type: ignore[arg-type]
                self.done(asked, answers)
                return [self._shown(answer) for answer in answers]
        return [self._single(row, first + i) for i, row in enumerate(rows)]

    def _columns(self, rows: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
        return csv_table.columns(self.header, rows, self.model.schema, self.model.validator.has_id)

    def _single(self, row: Sequence[str], position: int) -> dict[str, Any]:
        if len(row) != len(self.header):
            return {"error": CELLS.format(len(row), len(self.header))}
        model = self.model
        try:
            asked = model.validator.record({name: cells[0] for name, cells in self._columns([row]).items()})
        except Invalid as invalid:
            return {"error": "; ".join(f"{unescape(p.pointer[1:])}: {p.detail}" for p in invalid.problems)}
        own = prediction_ids(1, self.key, model.version, [asked.row], position)[0]
        answer = one(model, asked, own, self.every_term)
        self.done(asked, [answer])
        return self._shown(answer)

    def _shown(self, answer: dict[str, Any]) -> dict[str, Any]:
        if self.every_term:
            answer["contributions"] = msgspec.json.encode(answer["contributions"]).decode()
        return {
            **answer,
            "probability": answer["predict_proba"][-1],
            "reasons": " | ".join(reason["text"] for reason in answer["reasons"] or ()),
            "warnings": " | ".join(_named(w) for w in answer["warnings"]),
        }


def _named(warning: dict[str, str]) -> str:
    return f"{unescape(warning['pointer'].split('/')[1])}: {warning['detail']}"
