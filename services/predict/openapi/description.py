"""``GET /openapi.json``: the API's description (OpenAPI 3.1), made from the model that answers, so that it changes with it."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
from flask import Blueprint, Response, request

from modelbundle.errors import CannotScore
from modelbundle.format.outcome import Outcome, encoded
from modelbundle.model import Model
from modelbundle.validation.problems import Invalid
from services.predict.api import csv_table, outcome_parser
from services.predict.api.arrow import answers as arrow_answers
from services.predict.api.arrow import columns as arrow_columns
from services.predict.api.arrow.predict import MEDIA_TYPE as ARROW
from services.predict.api.csv_answers import ADDED
from services.predict.api.responses import MODEL_HEADERS, answered, current
from services.predict.openapi import schemas
from services.predict.openapi.schemas import Json, ref
from services.predict.protocols import oip
from services.predict.serving import model_calls
from services.predict.serving.loaded_models import Models
from services.predict.serving.predictor import derived_ids

REASONS = {
    400: "The body is not JSON, CSV or Arrow",
    401: "A key is needed",
    403: "The key is not known",
    404: "There is nothing at this address, or no such prediction",
    408: "The body arrived too slowly",
    409: "Another outcome is recorded",
    413: "Too large, or too many rows",
    415: "The wrong Content-Type",
    422: "It does not fit the model's schema; `errors` names every problem",
    429: "Too many requests; Retry-After says when to come back",
    503: "There is no model yet, no database, or too much load; Retry-After says when to come back",
}
SCORING = (400, 404, 408, 413, 415, 422, 429, 503)  # 404 where a model is named in the address
EXAMPLE_ID = "5d1c2f0a9b7e4c3d8a6f1e2b3c4d5e6f"
LOCKS: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class Description:
    """Makes the document once per model. ``keyed``: a caller must send a key to get scores."""

    def __init__(self, max_rows: int, max_csv_rows: int, keyed: bool) -> None:
        self.max_rows = max_rows
        self.max_csv_rows = max_csv_rows
        self.keyed = keyed
        self._made: tuple[str, bytes] = ("", b"")

    def of(self, model: Model) -> bytes:
        """The document for ``model``, as JSON."""
        version, made = self._made
        if version != model.version:
            made = json.dumps(self.document(model), ensure_ascii=False).encode()
            self._made = (model.version, made)
        return made

    def document(self, model: Model) -> Json:
        """The document for ``model``."""
        about = model.manifest
        document: Json = {
            "openapi": "3.1.0",
            "info": {
                "title": about.title,
                "version": model.version[:12],
                "description": f"Probability of: {about.positive}. Made from the model that answers now, `{about.name}`"
                f" {model.version}. What does not fit its schema is refused with every problem named; what its training"
                " had not seen is scored, and named in `warnings`.",
            },
            "servers": [{"url": "."}],
            "paths": self._paths(model),
            "components": {
                "schemas": {
                    **schemas.components(model, self.max_rows),
                    **schemas.outcomes(about.outcome, self.max_rows),
                }
            },
        }
        if self.keyed:
            document["components"]["securitySchemes"] = LOCKS
        return document

    def _paths(self, model: Model) -> Json:
        name = model.manifest.name
        plain = {"type": "object"}
        return {
            "/predict": {"post": self._scores(self._predict(model))},
            "/invocations": {"post": self._scores(self._invocations(model), 422)},
            f"/v2/models/{name}/infer": {"post": self._scores(self._infer(model), 422, 404)},
            "/outcomes": {
                "post": self._errors(_outcomes(model.manifest.outcome), (400, 404, 408, 409, 413, 415, 422, 429, 503))
            },
            f"/v2/models/{name}": {"get": _reads("The model's tensors (Open Inference Protocol)", plain, 503)},
            f"/v2/models/{name}/ready": {"get": _reads("Whether this model answers", plain, 503)},
            "/v2": {"get": _reads("The server (Open Inference Protocol)", plain)},
            "/v2/health/live": {"get": _reads("The process lives (Open Inference Protocol)", plain)},
            "/v2/health/ready": {"get": _reads("A model answers (Open Inference Protocol)", plain, 503, own=True)},
            "/healthz": {"get": _reads("The process lives", plain)},
            "/readyz": {
                "get": _reads("Which model answers, which is wanted, and what was refused", plain, 503, own=True)
            },
            "/model": {"get": _reads("What the model says of itself", plain, 503)},
            "/monitor.json": {
                "get": self._locked(_reads("Traffic, drift and live performance, as last computed", plain))
            },
        }

    def _locked(self, operation: Json) -> Json:
        if self.keyed:
            operation["security"] = [{lock: []} for lock in LOCKS]
            operation["responses"] |= {str(status): _problem(REASONS[status]) for status in (401, 403)}
        return operation

    def _scores(self, operation: Json, *without: int) -> Json:
        statuses = [status for status in SCORING if (status not in without) != (status == 404)]
        return self._errors(operation, statuses)

    def _errors(self, operation: Json, statuses: Iterable[int]) -> Json:
        for status in sorted({*statuses, *((401, 403) if self.keyed else ())}):
            operation["responses"][str(status)] = _problem(REASONS[status])
        if self.keyed:
            operation["security"] = [{lock: []} for lock in LOCKS]
        return operation

    def _predict(self, model: Model) -> Json:
        first, second = (schemas.records(model, 2) * 2)[:2]
        columns = {name: [first.get(name), second.get(name)] for name in {**first, **second}}
        examples = {
            "record": {"summary": "One record: one object", "value": first},
            "list": {"summary": "A list: always a list of predictions", "value": [first, second]},
            "records": {"summary": "The same, wrapped", "value": {"records": [first, second]}},
            "columns": {"summary": "Columns", "value": columns},
            "columns of one": {
                "summary": "Columns of length one: one object",
                "value": {k: [v] for k, v in first.items()},
            },
        }
        added = ", ".join(ADDED)
        sheet = (
            f"One row per line, at most {self.max_csv_rows}. A bad row is marked in `error`; columns added: {added}."
        )
        return {
            "summary": "Score one record, several, or columns",
            "operationId": "predict",
            "parameters": [
                {
                    "name": "contributions",
                    "in": "query",
                    "description": "`all` adds every feature's term",
                    "schema": {"type": "string", "enum": ["all"]},
                },
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "a retry with the same key and rows gets the same `prediction_id`",
                    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
                },
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": ref("Request"), "examples": examples},
                    "text/csv": {"schema": {"type": "string"}, "example": _csv(model, [first, second])},
                    **_table("A column per field. Texts may be dictionaries; buffers must not be compressed."),
                },
            },
            "responses": {
                "200": {
                    "description": "The answer. The request's shape decides its shape",
                    "headers": _headers(),
                    "content": {
                        "application/json": {
                            "schema": {"anyOf": [ref("Answer"), ref("Answers")]},
                            **_answer(model, first),
                        },
                        "text/csv": {"schema": {"type": "string", "description": sheet}},
                        **_table(f"A row per row, with the columns {', '.join(arrow_answers.names(False))}."),
                    },
                }
            },
        }

    def _invocations(self, model: Model) -> Json:
        first = schemas.records(model, 1)[0]
        split = {"columns": list(first), "data": [list(first.values())]}
        params = {"type": ["object", "null"], "maxProperties": 0}
        shapes_of_columns = {"anyOf": [ref("Record"), ref("Columns"), ref("Records")]}
        forms = {
            "dataframe_split": _object(
                {
                    "columns": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    "data": {"type": "array", "items": {"type": "array"}, "minItems": 1},
                }
            ),
            "dataframe_records": ref("Records"),
            "inputs": shapes_of_columns,
            "instances": shapes_of_columns,
        }
        examples = {
            "dataframe_split": split,
            "dataframe_records": [first],
            "inputs": {k: [v] for k, v in first.items()},
        }
        return {
            "summary": "The same in MLflow's words",
            "operationId": "invocations",
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [_closed({name: form}, params=params) for name, form in forms.items()]},
                        "examples": {name: {"value": {name: value}} for name, value in examples.items()},
                    },
                    "text/csv": {"schema": {"type": "string"}, "example": _csv(model, [first])},
                },
            },
            "responses": {
                "200": _ok(_object({"predictions": {"type": "array", "items": ref("Answer")}}), "The answers")
            },
        }

    def _infer(self, model: Model) -> Json:
        first = schemas.records(model, 1)[0]
        tensors = [
            {
                "name": name,
                "datatype": "BYTES" if isinstance(value, str) else "FP64",
                "shape": [1],
                "data": [value],
            }
            for name, value in first.items()
        ]
        data = {"type": "array", "items": {"type": ["number", "string", "null"]}}
        shape = {"type": "array", "items": {"type": "integer"}}
        described = {"name": {"type": "string"}, "datatype": {"type": "string"}, "shape": shape, "data": data}
        anything = {"type": ["object", "null"]}
        output = _object({"name": {"type": "string", "enum": [*oip.outputs(model)]}})
        asked = {"type": ["array", "null"], "items": output}
        tensor = _closed(described, parameters=anything)
        own = {"type": ["string", "null"], "maxLength": 256}
        inputs = {"type": "array", "items": tensor, "minItems": 1}
        body = _closed({"inputs": inputs}, id=own, parameters=anything, outputs=asked)
        outputs = {"type": "array", "items": tensor}
        names = {"model_name": {"type": "string"}, "model_version": {"type": "string"}}
        return {
            "summary": "The same in the words of the Open Inference Protocol",
            "operationId": "infer",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": body, "example": {"inputs": tensors}}},
            },
            "responses": {"200": _ok(_object({**names, "outputs": outputs}), "The answers")},
        }


def blueprint(models: Models, description: Description) -> Blueprint:
    """The view ``GET /openapi.json``."""
    views = Blueprint("openapi", __name__)

    @views.get("/openapi.json")
    def openapi() -> Response:
        """The description, for the model that answers now."""
        serving = current(models)
        document = Response(description.of(serving.model), mimetype="application/json")
        return answered(document, serving, request.environ)

    return views


def _object(properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _closed(required: Json, **optional: Json) -> Json:
    return {**_object(required), "properties": {**required, **optional}, "additionalProperties": False}


def _ok(schema: Json, words: str) -> Json:
    return {"description": words, "headers": _headers(), "content": {"application/json": {"schema": schema}}}


def _problem(words: str) -> Json:
    return {"description": words, "content": {"application/problem+json": {"schema": ref("Problem")}}}


def _reads(words: str, schema: Json, *statuses: int, own: bool = False) -> Json:
    responses: Json = {"200": {"description": "Yes", "content": {"application/json": {"schema": schema}}}}
    for status in statuses:
        same = {"description": "Not now", "content": {"application/json": {"schema": schema}}}
        responses[str(status)] = same if own else _problem(REASONS[status])
    return {"summary": words, "responses": responses}


def _headers() -> Json:
    text = {"schema": {"type": "string"}}
    return dict.fromkeys(("X-Request-Id", *MODEL_HEADERS), text)


def _answer(model: Model, record: Json) -> Json:
    """The ``example`` of an answer; empty where the model gives none for the record."""
    try:
        asked = model.validator.record(record)
        own = derived_ids([asked.row], [asked.id], "example", model.version, [0])[0]
        with model_calls.call(model_calls.SCORING, model.version, 1):
            answer = model.answer(asked.row, False, own, asked.id, asked.warnings)
    except (Invalid, CannotScore):
        return {}
    return {"example": msgspec.to_builtins(answer)}


def _table(description: str) -> Json:
    """A stream of Arrow, where this API takes it."""
    if not arrow_columns.INSTALLED:
        return {}
    return {ARROW: {"schema": {"type": "string", "format": "binary", "description": description}}}


def _csv(model: Model, records: list[Json]) -> str:
    lines = [",".join(model.schema.names)]
    lines += [",".join(str(record.get(name, "")) for name in model.schema.names) for record in records]
    return "\n".join(lines) + "\n"


def _outcomes(outcome: Outcome) -> Json:
    """``POST /outcomes``, without its errors."""
    wrapped = {
        "type": "object",
        "additionalProperties": False,
        "required": ["records"],
        "properties": {"records": ref("Outcomes")},
    }
    name, first, last = outcome.name, outcome.values[0], outcome.values[-1]
    one = {"prediction_id": EXAMPLE_ID, name: last}
    own = {"id": "my-17", name: first, "before": "2026-10-01"}
    examples = {
        "one": {"summary": "By the prediction's id", "value": one},
        "own": {"summary": "By your own reference", "value": own},
        "several": {"summary": "Several", "value": [one, own]},
    }
    cell = last if isinstance(last, str) else encoded(last)
    sheet = csv_table.encode([["prediction_id", name], [EXAMPLE_ID, cell]]).decode()
    added = " and ".join(f"`{name}`" for name in outcome_parser.ADDED)
    several = {"anyOf": [ref("OutcomeResult"), ref("OutcomeResults")]}
    return {
        "summary": "Say what became of rows that were scored",
        "description": "The first outcome of a prediction stays; the same again changes nothing."
        " An unknown id, or another outcome than the recorded one, is an error of a single object;"
        " of several it is said on its row.",
        "operationId": "outcomes",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [ref("Outcome"), ref("Outcomes"), wrapped]},
                    "examples": examples,
                },
                "text/csv": {"schema": {"type": "string"}, "example": sheet},
            },
        },
        "responses": {
            "200": {
                "description": "What came of each, in order",
                "headers": {"X-Request-Id": {"schema": {"type": "string"}}},
                "content": {
                    "application/json": {"schema": several},
                    "text/csv": {"schema": {"type": "string", "description": f"the same rows with {added}"}},
                },
            }
        },
    }
