"""The description of ``POST /outcomes``: the one part of the API that is the same for every model."""

from __future__ import annotations

from modelbundle.validation.validator import MAX_ID
from services.predict.api.outcome_parser import ADDED
from services.predict.openapi.schemas import Json, ref
from services.predictionlog.outcome import INVALID, STATUSES

ID: Json = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": "^[^\\u0000]*$"}
EXAMPLE: Json = {"prediction_id": "5d1c2f0a9b7e4c3d8a6f1e2b3c4d5e6f", "is_late": True}
OWN: Json = {"id": "loan-17", "is_late": False, "before": "2026-10-01"}
MEANING = (
    "`recorded` now; `repeated`: the same stands there already; `contradicted`: another outcome stands there, and stays;"
    " `unknown`: no prediction in the log is known by this; `waiting`: it may still be on its way to the database"
)


def schemas(max_rows: int) -> Json:
    """The components, by name."""
    result = {
        "type": "object",
        "required": ["prediction_ids", "is_late", "status"],
        "properties": {
            "id": {"type": "string"},
            "prediction_ids": {"type": "array", "items": {"type": "string"}, "description": "what it is about"},
            "is_late": {"type": "boolean"},
            "status": {"enum": [s for s in STATUSES if s != INVALID], "description": MEANING},
            "detail": {"type": "string"},
        },
    }
    counts = {status: {"type": "integer"} for status in STATUSES if status != INVALID}
    own = {**ID, "description": "your own reference: all predictions with it that have no outcome yet"}
    before = {"type": ["string", "null"], "format": "date", "description": "with `id`: only predictions made before"}
    late = {"type": "boolean", "description": "whether the loan was late"}
    about: Json = {"type": "object", "additionalProperties": False}
    absent = {"type": "null"}
    by_prediction = {"prediction_id": ID, "is_late": late, "id": absent, "before": absent}
    by_own = {"id": own, "is_late": late, "before": before, "prediction_id": absent}
    many = {"type": "array", "items": ref("Outcome"), "minItems": 1, "maxItems": max_rows}
    return {
        "Outcome": {
            "anyOf": [
                {**about, "required": ["prediction_id", "is_late"], "properties": by_prediction},
                {**about, "required": ["id", "is_late"], "properties": by_own},
            ]
        },
        "Outcomes": many,
        "OutcomeResult": result,
        "OutcomeResults": {
            "type": "object",
            "required": ["outcomes", *counts],
            "properties": {"outcomes": {"type": "array", "items": ref("OutcomeResult")}, **counts},
        },
    }


def operation() -> Json:
    """The operation, but for its errors."""
    wrapped = {
        "type": "object",
        "additionalProperties": False,
        "required": ["records"],
        "properties": {"records": ref("Outcomes")},
    }
    examples = {
        "one": {"summary": "By the prediction's id", "value": EXAMPLE},
        "own": {"summary": "By your own reference", "value": OWN},
        "several": {"summary": "Several", "value": [EXAMPLE, OWN]},
    }
    sheet = "prediction_id,is_late\n" + f"{EXAMPLE['prediction_id']},true\n"
    added = " and ".join(f"`{name}`" for name in ADDED)
    several = {"anyOf": [ref("OutcomeResult"), ref("OutcomeResults")]}
    return {
        "summary": "Say what became of loans that were scored",
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
