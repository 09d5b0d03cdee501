"""MLflow's scoring protocol: ``POST /invocations`` takes what ``mlflow models serve`` takes, and refuses with 400, never 500."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request

from modelbundle.model import Model
from modelbundle.validation import csv_cells
from modelbundle.validation.problems import Invalid, Problem, unescape
from modelbundle.validation.validator import Many, One
from services.predict.api import csv_table
from services.predict.api.csv_table import Table
from services.predict.api.request_body import BodyReader, check_type
from services.predict.api.responses import answered, current, refusal, translated
from services.predict.serving.predictor import REFUSALS, Predictor
from services.web.problem import Refused

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


def blueprint(predictor: Predictor, bodies: BodyReader) -> Blueprint:
    """The protocol's views."""
    views = Blueprint("mlflow", __name__)

    @views.post("/invocations")
    def invocations() -> Response:
        """``{"predictions": [answer object, …]}``, each object as ``/predict`` gives it."""
        tabular = request.mimetype == "text/csv"
        (csv_table.check_type if tabular else check_type)(request)
        body = bodies.read(request)
        if tabular:
            bodies.admit(body, request.environ, csv_table.weigh(body))
        content = Table(body) if tabular else Content(bodies.document(body, request.environ, predictor.max_rows))

        def read(model: Model) -> One | Many:
            if isinstance(content, Table):
                return _from_table(model, content, predictor.max_rows)
            return content.read(model, predictor.max_rows)

        try:
            found = predictor.predict(None, request.environ, read=read)
        except REFUSALS as error:
            place = str if isinstance(content, Table) else content.place
            raise refusal(error, request.environ, place) from None
        return answered(b'{"predictions":%b}' % found.to_json(), found.serving, request.environ, len(found.answers))

    @views.get("/ping")
    def ping() -> Response:
        """200 while a model answers."""
        current(predictor.models)
        return Response("\n", mimetype="text/plain")

    @views.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        """A problem document with MLflow's members too: its clients show ``message``."""
        return translated(error, "message", error_code="BAD_REQUEST" if error.status < 500 else "UNAVAILABLE")

    return views


class Content:
    """A JSON document in one of the :data:`FORMS`."""

    def __init__(self, sent: Any) -> None:
        self.sent = sent
        self.place: Callable[[str], str] = str  # pointers into the columns that are validated -> into what was sent

    def read(self, model: Model, max_rows: int) -> One | Many:
        """Validate it; raises :class:`Invalid` or :class:`TooManyRows`."""
        name, content = _form(self.sent)
        if name == "dataframe_split":
            split = Split(content)
            self.place = split.place
            return model.validator.columns(split.columns(), max_rows)
        if isinstance(content, dict) and name != "dataframe_records":
            self.place = f"/{name}{{}}".format
            return model.validator.columns(_lists(content), max_rows)
        if isinstance(content, list) and all(isinstance(record, dict) for record in content):
            return model.validator.records(content, max_rows, f"/{name}")
        raise Invalid([Problem(f"/{name}", "must be records or columns by name; a tensor has no names")])


def _form(sent: Any) -> tuple[str, Any]:
    if not isinstance(sent, dict):
        raise Invalid([Problem("", f"must be an object with one of {', '.join(FORMS)}")])
    given = [name for name in FORMS if name in sent]
    if len(given) != 1:
        raise Invalid([Problem("", f"must have exactly one of {', '.join(FORMS)}")])
    if unknown := [name for name in sent if name not in (*FORMS, "params")]:
        raise Invalid.counted(Problem(f"/{name[:256]}", "unknown field") for name in unknown)
    if sent.get("params") not in (None, {}):
        raise Invalid([Problem("/params", "this model takes no parameters")])
    return given[0], sent[given[0]]


def _lists(columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    if not columns:
        raise Invalid([Problem("", "must have at least one column")])
    if any(isinstance(value, list) for value in columns.values()):
        return dict(columns)
    return {name: [value] for name, value in columns.items()}  # a record


class Split:
    """``dataframe_split``: ``columns``, ``data`` by rows, and an ``index`` that is not used. Raises :class:`Invalid`."""

    def __init__(self, content: Any) -> None:
        names = content.get("columns") if isinstance(content, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
            raise Invalid([Problem("/dataframe_split/columns", "must be an array of the columns' names")])
        data = content.get("data")
        if not isinstance(data, list) or not data:
            raise Invalid([Problem("/dataframe_split/data", "must be an array of at least one row")])
        self.positions = {name: i for i, name in enumerate(names)}
        if len(self.positions) < len(names):
            raise Invalid([Problem("/dataframe_split/columns", "must name each column once")])
        wrong = [i for i, row in enumerate(data) if not isinstance(row, list) or len(row) != len(names)]
        if wrong:
            detail = f"must be an array of {len(names)} values, one for each column"
            raise Invalid.counted(Problem(f"/dataframe_split/data/{i}", detail) for i in wrong)
        self.names = names
        self.data = data

    def columns(self) -> dict[str, list[Any]]:
        """The columns by name."""
        return {name: list(values) for name, values in zip(self.names, zip(*self.data, strict=True), strict=True)}

    def place(self, pointer: str) -> str:
        """The place of ``/name/row`` in what was sent."""
        name, _, row = pointer[1:].partition("/")
        position = self.positions.get(unescape(name))
        if position is None:
            return "/dataframe_split/columns"
        return f"/dataframe_split/data/{row}/{position}" if row else f"/dataframe_split/columns/{position}"


def _from_table(model: Model, sent: Table, max_rows: int) -> One | Many:
    if problems := sent.check(model.validator, others=False):
        raise Invalid(problems)
    sent.bound(max_rows)
    rows = [row for chunk in sent.chunks(max_rows) for row in chunk]
    if rows and isinstance(rows[-1], csv_cells.Unclosed):
        raise Invalid([Problem("", f"row {len(rows) - 1} {rows[-1].detail}")])
    uneven = [i for i, row in enumerate(rows) if len(row) != len(sent.header)]
    if uneven:
        raise Invalid.counted(Problem(f"/{i}", "must have as many cells as the header") for i in uneven)
    if not rows:
        raise Invalid([Problem("", "must have at least one row after the header")])
    return model.validator.columns(csv_table.columns(sent.header, rows, model.schema, model.validator.has_id), max_rows)
