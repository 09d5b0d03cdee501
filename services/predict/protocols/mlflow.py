"""MLflow's scoring protocol: ``POST /invocations`` takes what ``mlflow models serve`` takes, and refuses with 400, never 500."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, request

from modelbundle.model import Model
from modelbundle.validation.validator import Invalid, Many, One, Problem, TooManyRows, unescape
from services.predict.api import csv_table
from services.predict.api.csv_table import Table
from services.predict.api.json_document import parse
from services.predict.api.request_body import check_type
from services.predict.serving.loaded_models import NoModel
from services.predict.serving.predictor import Answer, Predictor, array, each, idempotency_key, misfit, signed
from services.web import problem
from services.web.problem import Refused

blueprint = Blueprint("mlflow", __name__)
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
Place = Callable[[str], str]


@blueprint.post("/invocations")
def invocations() -> Response:
    """``{"predictions": [answer object, …]}``, each object as ``/predict`` gives it."""
    predictor: Predictor = current_app.extensions["predictor"]
    tabular = request.mimetype == "text/csv"
    (csv_table.check_type if tabular else check_type)(request)
    body = predictor.bodies.read(request)
    sent: Any = Table(body) if tabular else parse(body)
    with predictor.using() as serving:
        model = serving.held.model
        asked = _read(model, sent, predictor.max_rows)
        answers = each(model, asked, idempotency_key(request.environ))
        body = msgspec.json.encode({"predictions": answers})
        predictor.done(serving, request.environ, asked, answers, array(body))
        return signed(Answer(body), serving, request.environ, len(answers))


@blueprint.get("/ping")
def ping() -> Response:
    """200 while a model answers."""
    try:
        current_app.extensions["models"].current()
    except NoModel as error:
        raise Refused(503, f"No model can answer now: {error}.", headers={"Retry-After": "1"}) from None
    return Response("\n", mimetype="text/plain")


@blueprint.errorhandler(Refused)
def refused(error: Refused) -> Response:
    """A problem with MLflow's members beside: its clients show ``message``."""
    status = 400 if error.status == 422 else error.status
    first = f" {error.errors[0]['pointer']}: {error.errors[0]['detail']}" if error.errors else ""
    more = {**error.more, "error_code": "BAD_REQUEST" if status < 500 else "UNAVAILABLE"}
    return problem.response(status, error.detail, error.errors, error.headers, message=error.detail + first, **more)


def _read(model: Model, sent: Any, max_rows: int) -> One | Many:
    place: Place = str
    try:
        if isinstance(sent, Table):
            return _from_table(model, sent, max_rows)
        name, content = _form(sent)
        if name == "dataframe_split":
            split = Split(content)
            place = split.place
            return model.validator.columns(split.columns(), max_rows)
        if isinstance(content, dict) and name != "dataframe_records":
            place = lambda pointer: f"/{name}{pointer}"  # noqa: E731
            return model.validator.columns(_lists(content), max_rows)
        if isinstance(content, list) and all(isinstance(record, dict) for record in content):
            return model.validator.records(content, max_rows, f"/{name}")
    except (Invalid, TooManyRows) as error:
        raise misfit(error, request.environ, place) from None
    raise misfit(
        Invalid([Problem(f"/{name}", "must be records or columns by name; a tensor has no names")]), request.environ
    )


def _form(sent: Any) -> tuple[str, Any]:
    if not isinstance(sent, dict):
        raise Invalid([Problem("", f"must be an object with one of {', '.join(FORMS)}")])
    given = [name for name in FORMS if name in sent]
    if len(given) != 1:
        raise Invalid([Problem("", f"must have exactly one of {', '.join(FORMS)}")])
    if unknown := [Problem(f"/{name[:256]}", "unknown field") for name in sent if name not in (*FORMS, "params")]:
        raise Invalid(unknown)
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
        """Where ``/name/row`` stands in what was sent."""
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
    uneven = [i for i, row in enumerate(rows) if len(row) != len(sent.header)]
    if uneven:
        raise Invalid.counted(Problem(f"/{i}", "must have as many cells as the header") for i in uneven)
    if not rows:
        raise Invalid([Problem("", "must have at least one row after the header")])
    return model.validator.columns(csv_table.columns(sent.header, rows, model.schema, model.validator.has_id), max_rows)
