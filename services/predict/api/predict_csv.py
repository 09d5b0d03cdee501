"""CSV in, CSV out: the header is checked first, each bad row is marked on its row, and the answer is sent while it is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from flask import Request, Response
from msgspec import UNSET

from modelbundle.model import Answer, Model
from modelbundle.validation import csv_cells
from modelbundle.validation.problems import Invalid, Problem, TooManyRows, Unscorable, unescape
from modelbundle.validation.validator import Many, One
from services.predict.api import csv_table
from services.predict.api.csv_table import Table
from services.predict.api.request_body import BodyReader
from services.predict.api.responses import answered, refusal
from services.predict.serving.loaded_models import Serving
from services.predict.serving.predictor import REFUSALS, Predictor, idempotency_key

CHUNK = 500  # rows that are scored and sent at a time
ADDED = ("prediction", "probability", "band", "reasons", "warnings", "error", "prediction_id", "model_version")
CELLS = "has {} cells where the header has {}"
Cells = dict[str, Any]


def answer(predictor: Predictor, bodies: BodyReader, max_rows: int, request: Request, every_term: bool) -> Response:
    """The rows that were sent, with the columns :data:`ADDED` (see :func:`csv_cells.answer_names`).

    ``probability`` is that of the model's last class.

    ``every_term`` adds ``contributions``: an object of JSON.
    """
    csv_table.check_type(request)
    environ = request.environ
    added = (*ADDED, "contributions") if every_term else ADDED
    try:
        key = idempotency_key(environ)
        body = bodies.read(request)
        bodies.reserve(body, environ, csv_table.CHUNK_BYTES)
        sent = Table(body)
        serving = predictor.models.current()
        if problems := _problems(sent, added, serving.model):
            if serving.trial is not None:
                serving.trial.refused(problems, partial(_check, sent, added))
            raise Invalid(problems)
    except REFUSALS as error:
        raise refusal(error, environ) from None
    sent.bound(max_rows)
    scorer = TableScorer(predictor, serving, environ, sent.header, key, every_term)
    response = answered(Response(mimetype="text/csv"), serving, environ)
    environ["request.streams"] = True
    response.response = _lines(scorer, sent, added)
    return response


def _check(sent: Table, added: Sequence[str], model: Model) -> None:
    if problems := _problems(sent, added, model):
        raise Invalid(problems)


def _problems(sent: Table, added: Sequence[str], model: Model) -> list[Problem]:
    return sent.check(model.validator, others=True, added=csv_cells.answer_names(added, model.schema))


def _lines(scorer: TableScorer, sent: Table, added: Sequence[str]) -> Iterator[bytes]:
    facts = scorer.environ["request.facts"]
    first, width = 0, len(sent.header)
    with scorer.serving:
        names = csv_cells.answer_names(added, scorer.serving.model.schema)
        yield csv_table.encode([[*sent.header, *names]])
        for rows in sent.chunks(CHUNK):
            if scorer.serving.requests.overdue:
                raise Overdue
            answers = scorer.score(rows, first)
            good = sum("band" in answer for answer in answers)
            facts["rows"] += good
            facts["bad_rows"] = facts.get("bad_rows", 0) + len(rows) - good
            yield csv_table.encode(
                [*row[:width], *[""] * (width - len(row)), *(answer.get(name, "") for name in added)]
                for row, answer in zip(rows, answers, strict=True)
            )
            first += len(rows)


class Overdue(Exception):
    """An answer that has begun is broken off: it has held a former model for too long, and a new one needs its place."""


@dataclass(frozen=True, slots=True)
class TableScorer:
    """Scores rows of text below ``header``, all with one model."""

    predictor: Predictor
    serving: Serving
    environ: dict[str, Any]
    header: Sequence[str]
    key: str | None
    every_term: bool

    def score(self, rows: Sequence[Sequence[str]], first: int) -> list[Cells]:
        """The added columns of each row: the answer's, or only ``error``. ``first``: the position of the first of them.

        The rows between bad ones are scored together.
        """
        try:
            return self._answers(self._read(rows, self.serving.model), first)
        except Unscorable as error:
            bad = {i: _said(problem) for i, problem in error.rows.items()}
        except (Invalid, TooManyRows):
            bad = {i: why for i, row in enumerate(rows) if (why := self._misfit(row))}
        found: list[Cells] = []
        begin = 0
        for i, why in [*sorted(bad.items()), (len(rows), "")]:
            if begin < i:
                found += self.score(rows[begin:i], first + begin)
            if why:
                found.append({"error": why})
            begin = i + 1
        return found

    def _read(self, rows: Sequence[Sequence[str]], model: Model) -> One | Many:
        if any(len(row) != len(self.header) or isinstance(row, csv_cells.Unclosed) for row in rows):
            raise Invalid([])
        columns = csv_table.columns(self.header, rows, model.schema, model.validator.has_id)
        if len(rows) == 1:
            return model.validator.record({name: cells[0] for name, cells in columns.items()})
        return model.validator.columns(columns, len(rows))

    def _misfit(self, row: Sequence[str]) -> str:
        """Why a row does not fit; empty where it does."""
        if isinstance(row, csv_cells.Unclosed):
            return row.detail
        if len(row) != len(self.header):
            return CELLS.format(len(row), len(self.header))
        try:
            self._read([row], self.serving.model)
        except Invalid as invalid:
            if self.serving.trial is not None:
                self.serving.trial.refused(invalid.problems, partial(self._read, [row]))
            return "; ".join(map(_said, invalid.problems))
        return ""

    def _answers(self, asked: One | Many, first: int) -> list[Cells]:
        found = self.predictor.share(self.serving, asked, self.environ, self.key, self.every_term, first)
        return [cells(answer) for answer in found.answers]


def cells(answer: Answer) -> Cells:
    """The added columns of one row."""
    return {
        **msgspec.structs.asdict(answer),
        "prediction": csv_cells.label(answer.prediction),
        "probability": answer.predict_proba[-1],
        "reasons": " | ".join(reason["text"] for reason in answer.reasons or ()),
        "warnings": " | ".join(_named(warning) for warning in answer.warnings),
        "contributions": "" if answer.contributions is UNSET else msgspec.json.encode(answer.contributions).decode(),
    }


def _said(problem: Problem) -> str:
    name = unescape(problem.pointer[1:])
    return f"{name}: {problem.detail}" if name else problem.detail


def _named(warning: dict[str, str]) -> str:
    return f"{unescape(warning['pointer'].split('/')[1])}: {warning['detail']}"
