"""The Open Inference Protocol v2 over HTTP: one tensor per feature in, one per kind of answer out.

https://github.com/open-inference/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, jsonify, request

from modelbundle.model import Model
from modelbundle.validation.validator import Invalid, TooManyRows
from services.predict.api.json_document import parse
from services.predict.api.request_body import check_type
from services.predict.protocols.oip_tensors import Asked, read
from services.predict.serving.loaded_models import NoModel, Serving
from services.predict.serving.predictor import Answer, Predictor, each, idempotency_key, misfit, signed
from services.web import problem
from services.web.problem import Refused

blueprint = Blueprint("oip", __name__, url_prefix="/v2")
BINARY = "application/octet-stream"
LABELS = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


@blueprint.get("")
def server() -> Response:
    """The server's metadata."""
    return jsonify(name="peerloan", version="2", extensions=["binary_tensor_data"])


@blueprint.get("/health/live")
def live() -> Response:
    """The process lives."""
    return jsonify(live=True)


@blueprint.get("/health/ready")
def ready() -> tuple[Response, int]:
    """A model answers."""
    try:
        current_app.extensions["models"].current()
    except NoModel:
        return jsonify(ready=False), 503
    return jsonify(ready=True), 200


@blueprint.get("/models/<name>")
@blueprint.get("/models/<name>/versions/<version>")
def model_metadata(name: str, version: str | None = None) -> Response:
    """The model's tensors."""
    serving = _predictor().current()
    model = _named(serving, name, version)
    inputs = [
        {"name": f.name, "datatype": "FP64" if f.kind == "number" else "BYTES", "shape": [-1]} for f in model.schema
    ]
    outputs = [
        {"name": output, "datatype": datatype, "shape": shape} for output, (datatype, shape) in _outputs(model).items()
    ]
    response = jsonify(name=name, versions=[model.version], platform="modelbundle", inputs=inputs, outputs=outputs)
    signed(response, serving, request.environ, 0)
    return response


@blueprint.get("/models/<name>/ready")
@blueprint.get("/models/<name>/versions/<version>/ready")
def model_ready(name: str, version: str | None = None) -> Response:
    """This model answers."""
    model = _named(_predictor().current(), name, version)
    return jsonify(name=model.manifest.name, ready=True)


@blueprint.post("/models/<name>/infer")
@blueprint.post("/models/<name>/versions/<version>/infer")
def infer(name: str, version: str | None = None) -> Response:
    """Score one tensor per feature. Answers are always in JSON, which the protocol lets a server choose."""
    predictor = _predictor()
    if request.mimetype not in ("", BINARY):
        check_type(request)
    body = predictor.bodies.read(request)
    head = request.headers.get("Inference-Header-Content-Length", str(len(body)))
    if not (head.isascii() and head.isdigit()) or int(head) > len(body):
        raise Refused(400, "Inference-Header-Content-Length must be a number of bytes within the body.")
    document = parse(body[: int(head)])
    with predictor.using() as serving:
        model = _named(serving, name, version)
        binary = memoryview(body)[int(head) :]
        try:
            asked = read(document, binary, model.schema, model.validator.has_id, [*_outputs(model)])
        except Invalid as error:
            raise misfit(error, request.environ) from None
        try:
            checked = model.validator.columns(asked.columns, predictor.max_rows)
        except (Invalid, TooManyRows) as error:
            raise misfit(error, request.environ, asked.place) from None
        answers = each(model, checked, idempotency_key(request.environ))
        predictor.done(serving, request.environ, checked, answers)
        result = {"model_name": name, "model_version": model.version, "outputs": _tensors(model, asked, answers)}
        if asked.id is not None:
            result["id"] = asked.id
        return signed(Answer(msgspec.json.encode(result)), serving, request.environ, len(answers))


@blueprint.errorhandler(Refused)
def refused(error: Refused) -> Response:
    """The protocol's error object, ``error``, in a problem document."""
    status = 400 if error.status == 422 else error.status
    first = f" {error.errors[0]['pointer']}: {error.errors[0]['detail']}" if error.errors else ""
    return problem.response(status, error.detail, error.errors, error.headers, error=error.detail + first, **error.more)


def _predictor() -> Predictor:
    predictor: Predictor = current_app.extensions["predictor"]
    return predictor


def _named(serving: Serving, name: str, version: str | None) -> Model:
    model = serving.held.model
    if name != model.manifest.name or version not in (None, model.version):
        raise Refused(404, f"This model is not served now; {model.manifest.name} {model.version} is.")
    return model


def _outputs(model: Model) -> dict[str, tuple[str, list[int]]]:
    outputs = {
        "predict": (LABELS[type(model.classes[0])], [-1]),
        "predict_proba": ("FP64", [-1, len(model.classes)]),
        "prediction_id": ("BYTES", [-1]),
        "reasons": ("BYTES", [-1]),
        "warnings": ("BYTES", [-1]),
    }
    if model.manifest.bands:
        outputs["band"] = ("BYTES", [-1])
    return outputs


def _tensors(model: Model, asked: Asked, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tensors = []
    for name, (datatype, shape) in _outputs(model).items():
        if asked.outputs and name not in asked.outputs:
            continue
        own = "prediction" if name == "predict" else name
        data: list[Any] = [answer[own] for answer in answers]
        if name == "predict_proba":
            data = [p for row in data for p in row]
        elif name in ("reasons", "warnings"):  # a string of JSON for each row
            data = [msgspec.json.encode(rows or []).decode() for rows in data]
        tensors.append({"name": name, "datatype": datatype, "shape": [len(answers), *shape[1:]], "data": data})
    return tensors
