"""CSV in, CSV out: the header is checked first, each bad row is marked on its row, and the answer is sent while it is made."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Request, Response

from modelbundle.model import Model
from modelbundle.validation import Invalid, TooManyRows, unescape
from services.predict import table
from services.predict.scoring import Predictor, many, misfit, one, prediction_ids, signed
from services.predict.table import Table
from services.problem import Refused

CHUNK = 500  # rows that are scored and sent at a time
ADDED = ("prediction", "probability", "band", "reasons", "warnings", "error", "prediction_id", "model_version")


def answer(predictor: Predictor, request: Request) -> Response:
    """The rows that were sent, with the columns :data:`ADDED`: ``probability`` is that of the model's last class."""
    table.check_type(request)
    environ = request.environ
    if environ.get("QUERY_STRING"):
        raise Refused(422, "A CSV request takes no query parameters.")
    sent = Table(predictor.bodies.read(request))
    serving = predictor.current()
    model = serving.held.model
    if problems := sent.check(model.validator, others=True, added=ADDED):
        raise misfit(Invalid(problems), environ)
    sent.bound(predictor.max_csv_rows)
    response = Response(mimetype="text/csv")
    signed(response, serving, environ, 0)
    environ["request.streams"] = True
    response.response = _lines(predictor, model, sent, environ)
    serving.held.in_use.append(None)
    response.call_on_close(serving.held.in_use.pop)
    return response


def _lines(predictor: Predictor, model: Model, sent: Table, environ: dict[str, Any]) -> Iterator[bytes]:
    facts = environ["request.facts"]
    key = environ.get("HTTP_IDEMPOTENCY_KEY")
    yield _csv([[*sent.header, *ADDED]])
    first = 0
    for rows in sent.chunks(CHUNK):
        added = Chunk(model, sent.header, key, first).score(rows)
        bands = [one["band"] for one in added if "band" in one]
        predictor.scored(len(bands), bands)
        facts["rows"] += len(bands)
        facts["bad_rows"] = facts.get("bad_rows", 0) + len(rows) - len(bands)
        width = len(sent.header)
        yield _csv(
            [*row[:width], *[""] * (width - len(row)), *(one.get(name, "") for name in ADDED)]
            for row, one in zip(rows, added, strict=True)
        )
        first += len(rows)


class Chunk:
    """Scores some of the rows. ``first`` is the position of their first in the request, from 0."""

    def __init__(self, model: Model, header: Sequence[str], key: str | None, first: int) -> None:
        self.model = model
        self.header = header
        self.key = key
        self.first = first

    def score(self, rows: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """The added columns of each row: the answer's, or only ``error``."""
        if all(len(row) == len(self.header) for row in rows) and len(rows) > 1:
            try:
                asked = self.model.validator.columns(self._columns(rows), len(rows))
            except (Invalid, TooManyRows):
                pass
            else:
                return [self._shown(a) for a in many(self.model, asked, self.key, False, self.first)]  # type: ignore[arg-type]
        return [self._single(row, self.first + i) for i, row in enumerate(rows)]

    def _columns(self, rows: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
        return table.columns(self.header, rows, self.model.schema, self.model.validator.has_id)

    def _single(self, row: Sequence[str], position: int) -> dict[str, Any]:
        if len(row) != len(self.header):
            return {"error": f"has {len(row)} cells where the header has {len(self.header)}"}
        model = self.model
        try:
            asked = model.validator.record({name: cells[0] for name, cells in self._columns([row]).items()})
        except Invalid as invalid:
            return {"error": "; ".join(f"{unescape(p.pointer[1:])}: {p.detail}" for p in invalid.problems)}
        own = prediction_ids(1, self.key, model.version, [asked.row], position)[0]
        return self._shown(one(model, asked, own, False))

    def _shown(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            **answer,
            "probability": answer["predict_proba"][-1],
            "reasons": " | ".join(reason["text"] for reason in answer["reasons"] or ()),
            "warnings": " | ".join(_named(w) for w in answer["warnings"]),
        }


def _named(warning: dict[str, str]) -> str:
    return f"{unescape(warning['pointer'].split('/')[1])}: {warning['detail']}"


def _csv(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
