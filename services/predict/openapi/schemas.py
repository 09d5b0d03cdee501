"""JSON Schemas of what the API takes and gives, made from a model; and example rows from its golden ones."""

from __future__ import annotations

from typing import Any

from modelbundle.format.outcome import Outcome
from modelbundle.model import Answer, Model
from modelbundle.schema import Feature, Schema
from modelbundle.validation.problems import Invalid
from modelbundle.validation.rules import MAX_ID
from services.predictionlog.outcome import INVALID, STATUSES

Json = dict[str, Any]
PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457. The value that was sent is never repeated.",
    "required": ["type", "title", "status", "detail", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Located"}},
        "request_id": {"type": "string"},
        "max_rows": {"type": "integer"},
        "max_bytes": {"type": "integer"},
    },
}
LOCATED: Json = {
    "type": "object",
    "required": ["pointer", "detail"],
    "properties": {
        "pointer": {"type": "string", "description": "a JSON pointer (RFC 6901) into what was sent"},
        "detail": {"type": "string"},
    },
}

ID: Json = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": "^[^\\u0000]*$"}
MEANING = (
    "`recorded` now; `repeated`: the same stands there already; `contradicted`: another outcome stands there, and stays;"
    " `unknown`: no prediction in the log is known by this; `waiting`: it may still be on its way to the database"
)


def ref(name: str) -> Json:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def components(model: Model, max_rows: int) -> Json:
    """All schemas, by name."""
    rows = {"minItems": 1, "maxItems": max_rows}
    values = {f.name: value(f) for f in model.schema}
    if model.validator.has_id:
        values["id"] = own_id()
    required = [f.name for f in model.schema if f.required]
    shape = {"type": "object", "additionalProperties": False, **({"required": required} if required else {})}
    columns = {name: {"type": "array", "items": bare(schema), **rows} for name, schema in values.items()}
    records = {"type": "array", "items": ref("Record"), **rows}
    return {
        "Record": {**shape, "description": model.manifest.title, "properties": values},
        "Records": records,
        "Wrapped": {
            "type": "object",
            "additionalProperties": False,
            "required": ["records"],
            "properties": {"records": records},
        },
        "Columns": {
            **shape,
            "description": "All arrays are equally long. Of length one they get one object, as a record does.",
            "properties": columns,
        },
        "Request": {"anyOf": [ref("Record"), ref("Records"), ref("Wrapped"), ref("Columns")]},
        "Answer": answer(model),
        "Answers": {
            "type": "object",
            "required": ["predictions", "model_version"],
            "properties": {
                "predictions": {"type": "array", "items": ref("Answer")},
                "model_version": {"type": "string"},
            },
        },
        "Problem": PROBLEM,
        "Located": LOCATED,
    }


def value(feature: Feature) -> Json:
    """What one feature takes."""
    known = [feature.description]
    kind = "number" if feature.kind == "number" else "string"
    schema: Json = {"title": feature.title, "type": kind if feature.required else [kind, "null"]}
    if feature.kind == "category":
        schema["maxLength"] = feature.most_characters
        if feature.categories:
            known.append(f"Seen in training: {', '.join(feature.categories)}.")
            schema["examples"] = list(feature.categories[:20])
        if feature.closed:
            known.append("A value that training has not seen is refused.")
    else:
        if feature.unit:
            known.append(f"In {feature.unit}.")
        if feature.observed:
            known.append(f"Seen in training: {feature.observed[0]:g} to {feature.observed[1]:g}.")
        if feature.minimum is not None:
            schema["minimum"] = feature.minimum
        if feature.maximum is not None:
            schema["maximum"] = feature.maximum
    schema["description"] = " ".join(filter(None, known))
    return schema


def own_id() -> Json:
    """A caller's own reference."""
    return {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": MAX_ID,
        "pattern": "^[^\\u0000]*$",
        "description": "your own reference; echoed",
    }


def bare(schema: Json) -> Json:
    """The same without the words, which stand at the record's."""
    return {key: entry for key, entry in schema.items() if key not in ("title", "description", "examples")}


def answer(model: Model) -> Json:
    """The answer object: the fields of :class:`modelbundle.model.Answer`."""
    classes = list(model.classes)
    labels = [band.label for band in model.manifest.bands]
    reason = {
        "type": "object",
        "required": ["feature", "text", "contribution"],
        "properties": {
            "feature": {"type": "string"},
            "text": {"type": "string", "description": "a sentence for the person whom the row is about"},
            "contribution": {"type": "number", "description": "in log-odds, above the average row of training"},
        },
    }
    properties: Json = {
        "prediction": {
            "enum": classes,
            "description": "what scikit-learn's predict returns. It is not a decision: decide with band or predict_proba",
        },
        "predict_proba": {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": len(classes),
            "maxItems": len(classes),
            "description": f"of the classes {classes}; the last is: {model.manifest.positive}",
        },
        "band": {"enum": [*labels, None]},
        "baseline": {"type": ["number", "null"], "description": "log-odds of the average row of training"},
        "reasons": {"type": ["array", "null"], "items": reason, "maxItems": 4},
        "contributions": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "number"},
            "description": "with ?contributions=all: every feature's term; with baseline they add up to the log-odds",
        },
        "model_version": {"type": "string", "description": "SHA-256 of the model's file"},
        "prediction_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "id": {"type": ["string", "null"]},
        "warnings": {"type": "array", "items": ref("Located"), "description": "what training had not seen"},
    }
    required = [name for name in Answer.__struct_fields__ if name != "contributions"]
    return {"type": "object", "required": required, "properties": properties}


def records(model: Model, count: int) -> list[Json]:
    """Up to ``count`` example records: golden rows that have every value and raise no warning, else the first.

    A golden row may be beyond the model's bounds: such rows are the last choice.
    """
    rows = [_record(model.schema, row) for row in model.manifest.golden.rows]
    warned = [(row, found) for row in rows if (found := _warnings(model, row)) is not None]
    full = [row for row, found in warned if len(row) == len(model.schema) and not found]
    return (full or [row for row, _ in warned] or rows)[:count]


def _warnings(model: Model, record: Json) -> int | None:
    """How many warnings a record gets; None where it does not fit the schema."""
    try:
        return len(model.validator.record(record).warnings)
    except Invalid:
        return None


def _record(schema: Schema, row: tuple[float | str | None, ...]) -> Json:
    found: Json = {}
    for feature, entry in zip(schema, row, strict=True):
        if entry is not None:
            whole = isinstance(entry, float) and feature.integer and entry.is_integer()
            found[feature.name] = int(entry) if whole else entry
    return found


def outcomes(outcome: Outcome, max_rows: int) -> Json:
    """The schemas of ``POST /outcomes``, by name, with the field and the values that the bundle gives the outcome."""
    kind: Json = {"type": "boolean"} if outcome.truth else {"enum": list(outcome.values)}
    value = {**kind, "description": "what became of it"}
    result = {
        "type": "object",
        "required": ["prediction_ids", outcome.name, "status"],
        "properties": {
            "id": {"type": "string"},
            "prediction_ids": {"type": "array", "items": {"type": "string"}, "description": "what it is about"},
            outcome.name: bare(value),
            "status": {"enum": [s for s in STATUSES if s != INVALID], "description": MEANING},
            "detail": {"type": "string"},
        },
    }
    counts = {status: {"type": "integer"} for status in STATUSES if status != INVALID}
    own = {**ID, "description": "your own reference: all predictions with it that have no outcome yet"}
    before = {"type": ["string", "null"], "format": "date", "description": "with `id`: only predictions made before"}
    about: Json = {"type": "object", "additionalProperties": False}
    absent = {"type": "null"}
    by_prediction = {"prediction_id": ID, outcome.name: value, "id": absent, "before": absent}
    by_own = {"id": own, outcome.name: value, "before": before, "prediction_id": absent}
    many = {"type": "array", "items": ref("Outcome"), "minItems": 1, "maxItems": max_rows}
    return {
        "Outcome": {
            "anyOf": [
                {**about, "required": ["prediction_id", outcome.name], "properties": by_prediction},
                {**about, "required": ["id", outcome.name], "properties": by_own},
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
