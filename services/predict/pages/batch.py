"""``GET /batch``: the page on which a whole book is checked and scored. The work is done by the browser: ``static/scorer.js``."""

from __future__ import annotations

import csv
import io
from typing import Any

from flask import Blueprint, Response, jsonify, request

from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.validation import csv_cells
from modelbundle.validation.csv_cells import TAKEN, TWICE, UNCLOSED
from modelbundle.validation.rules import ID_RULE, MAX_ID, MISSING, UNKNOWN, expectation
from services.predict.api.csv_answers import ADDED
from services.predict.api.predict_csv import CELLS
from services.predict.api.responses import answered, current
from services.predict.pages import rendering
from services.predict.pages.example_cases import Examples
from services.predict.pages.formatting import plain
from services.predict.serving.loaded_models import Models

Json = dict[str, Any]


def blueprint(models: Models, examples: Examples, max_rows: int, max_bytes: int) -> Blueprint:
    """The views of the page; ``max_rows`` and ``max_bytes`` are the most that ``/predict`` takes as CSV."""
    views = Blueprint("batch", __name__)

    @views.get("/batch")
    def show() -> Response:
        """The page."""
        serving = rendering.serving_now(models)
        if serving is None:
            return rendering.no_model("batch")
        return rendering.page("batch.html", "batch", serving, features=serving.model.schema, url=request.host_url)

    @views.get("/batch/model.json")
    def model() -> Response:
        """All that checking a book takes: the schema, and the API's own words for what does not fit it."""
        serving = current(models)
        return answered(jsonify(describe(serving.model, max_rows, max_bytes)), serving, request.environ)

    @views.get("/batch/template.csv")
    def template() -> Response:
        """The columns, and rows that are made up: the examples of the page on which one case is tried."""
        serving = current(models)
        asked = serving.model
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(asked.schema.names)
        for case in examples.of(asked):
            writer.writerow([plain(value) if isinstance(value, float) else value for value in case.row])
        response = Response(text.getvalue(), mimetype="text/csv")
        response.headers["Content-Disposition"] = f'attachment; filename="{asked.manifest.name}-template.csv"'
        return answered(response, serving, request.environ)

    return views


def describe(asked: Model, most_rows: int, most_bytes: int) -> Json:
    """What ``static/check.js`` works with."""
    number = Feature("", "number", required=True)
    return {
        "model_version": asked.version,
        "positive": asked.manifest.positive,
        "bands": [
            {"label": b.label, "upper": b.upper, "rate": b.observed_rate, "share": b.share}
            for b in asked.manifest.bands
        ],
        "features": [_feature(feature) for feature in asked.schema],
        "has_id": asked.validator.has_id,
        "added": csv_cells.answer_names(ADDED, asked.schema),
        "keys": ADDED,
        "max_id": MAX_ID,
        "limits": {"rows": most_rows, "bytes": most_bytes},
        "words": {
            "unknown": UNKNOWN,
            "missing": MISSING,
            "twice": TWICE,
            "added": TAKEN,
            "cells": CELLS,
            "unclosed": UNCLOSED,
            "empty": expectation(number, None),
            "number": expectation(number, False),
            "id": ID_RULE,
        },
    }


def _feature(feature: Feature) -> Json:
    low, high = feature.minimum, feature.maximum
    return {
        "name": feature.name,
        "kind": feature.kind,
        "required": feature.required,
        "categories": feature.categories,
        "characters": feature.most_characters,
        "long": expectation(feature, "x" * (feature.most_characters + 1)) if feature.kind == "category" else None,
        "observed": feature.observed,
        "minimum": low,
        "maximum": high,
        "below": None if low is None else expectation(feature, low - max(1.0, abs(low))),
        "above": None if high is None else expectation(feature, high + max(1.0, abs(high))),
    }
