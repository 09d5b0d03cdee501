"""CSV in, CSV out: the header is checked first, each bad row is marked on its row, and the answer is sent while it is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Request, Response

from modelbundle.model import Model
from modelbundle.validation import csv_cells
from modelbundle.validation.problems import Invalid, Problem, TooManyRows, Unscorable, unescape
from modelbundle.validation.validator import Many, One
from services.predict.api import csv_answers, csv_table
from services.predict.api.csv_answers import ADDED
from services.predict.api.csv_table import Table
from services.predict.api.request_body import BodyReader
from services.predict.api.responses import answered, refusal
from services.predict.serving.loaded_models import Serving
from services.predict.serving.predictor import REFUSALS, Predictor, idempotency_key

CHUNK = 500  # rows that are scored and sent at a time
CELLS = "has {} cells where the header has {}"


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
            texts, bad = scorer.score(rows, first)
            facts["rows"] += len(rows) - bad
            facts["bad_rows"] = facts.get("bad_rows", 0) + bad
            yield csv_answers.encode(rows, width, texts)
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

    def score(self, rows: Sequence[Sequence[str]], first: int) -> tuple[list[str], int]:
        """The text of each row's added cells, and how many rows have only ``error``.

        ``first``: the position of the first row. The rows between bad ones are scored together.
        """
        try:
            return self._answers(self._read(rows, self.serving.model), first), 0
        except Unscorable as error:
            bad = {i: _said(problem) for i, problem in error.rows.items()}
        except (Invalid, TooManyRows):
            bad = {i: why for i, row in enumerate(rows) if (why := self._misfit(row))}
        found: list[str] = []
        begin = count = 0
        for i, why in [*sorted(bad.items()), (len(rows), "")]:
            if begin < i:
                between, worse = self.score(rows[begin:i], first + begin)
                found += between
                count += worse
            if why:
                found.append(csv_answers.refused(why, self.every_term))
                count += 1
            begin = i + 1
        return found, count

    def _read(self, rows: Sequence[Sequence[str]], model: Model) -> One | Many:
        if {*map(len, rows)} != {len(self.header)} or {*map(type, rows)} != {list}:
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

    def _answers(self, asked: One | Many, first: int) -> list[str]:
        found = self.predictor.share(self.serving, asked, self.environ, self.key, self.every_term, first)
        return csv_answers.texts(found.answers, self.every_term)


def _said(problem: Problem) -> str:
    name = unescape(problem.pointer[1:])
    return f"{name}: {problem.detail}" if name else problem.detail
