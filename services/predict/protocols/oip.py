"""The Open Inference Protocol v2 over HTTP: one tensor per feature in, one per kind of answer out.

https://github.com/open-inference/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from flask import Blueprint, Response, jsonify, request

from modelbundle.model import Answer, Model
from modelbundle.validation.validator import Many, One
from services.predict.api.request_body import SMALL, BodyReader, check_encoding, check_type
from services.predict.api.responses import answered, current, refusal, translated
from services.predict.protocols.oip_tensors import Tensors
from services.predict.serving.loaded_models import NoModel
from services.predict.serving.predictor import REFUSALS, Predictor
from services.web.problem import Refused

BINARY_TIMES = 20  # the memory that values take, in bytes of a binary tensor of FP16
BINARY = "application/octet-stream"
LABELS = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


def blueprint(predictor: Predictor, bodies: BodyReader) -> Blueprint:
    """The protocol's views, under ``/v2``."""
    views = Blueprint("oip", __name__, url_prefix="/v2")
    models = predictor.models

    @views.get("")
    def server() -> Response:
        """The server's metadata."""
        return jsonify(name="peerloan", version="2", extensions=["binary_tensor_data"])

    @views.get("/health/live")
    def live() -> Response:
        """The process lives."""
        return jsonify(live=True)

    @views.get("/health/ready")
    def ready() -> tuple[Response, int]:
        """A model answers."""
        try:
            models.current()
        except NoModel:
            return jsonify(ready=False), 503
        return jsonify(ready=True), 200

    @views.get("/models/<name>")
    @views.get("/models/<name>/versions/<version>")
    def model_metadata(name: str, version: str | None = None) -> Response:
        """The model's tensors."""
        serving = current(models)
        return answered(jsonify(_metadata(_named(serving.model, name, version))), serving, request.environ)

    @views.get("/models/<name>/ready")
    @views.get("/models/<name>/versions/<version>/ready")
    def model_ready(name: str, version: str | None = None) -> Response:
        """This model answers."""
        return jsonify(name=_named(current(models).model, name, version).manifest.name, ready=True)

    @views.post("/models/<name>/infer")
    @views.post("/models/<name>/versions/<version>/infer")
    def infer(name: str, version: str | None = None) -> Response:
        """Score one tensor per feature. Answers are always in JSON, which the protocol lets a server choose."""
        if request.mimetype in ("", BINARY):
            check_encoding(request)
        else:
            check_type(request)
        head, binary = _parts(bodies.read(request))
        document = bodies.document(head, request.environ)
        if len(binary) > SMALL:
            bodies.budget.claim(request.environ, BINARY_TIMES * len(binary))
        asked = Tensors(binary, predictor.max_rows)

        def read(model: Model) -> One | Many:
            asked.read(document, _named(model, name, version).schema, model.validator.has_id, [*outputs(model)])
            return model.validator.columns(asked.columns, predictor.max_rows)

        try:
            found = predictor.predict(None, request.environ, read=read)
        except REFUSALS as error:
            raise refusal(error, request.environ, asked.place) from None
        model = found.serving.model
        result = {"model_name": name, "model_version": model.version, "outputs": _tensors(model, asked, found.answers)}
        if asked.id is not None:
            result["id"] = asked.id
        return answered(msgspec.json.encode(result), found.serving, request.environ, len(found.answers))

    @views.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        """The protocol's error object, ``error``, in a problem document."""
        return translated(error, "error")

    return views


def _parts(body: bytes) -> tuple[bytes, memoryview]:
    """The JSON document of a body, and the binary tensors after it."""
    head = request.headers.get("Inference-Header-Content-Length", str(len(body)))
    if not (head.isascii() and head.isdigit()) or int(head) > len(body):
        raise Refused(400, "Inference-Header-Content-Length must be a number of bytes within the body.")
    return body[: int(head)], memoryview(body)[int(head) :]


def _metadata(model: Model) -> dict[str, Any]:
    inputs = [
        {"name": f.name, "datatype": "FP64" if f.kind == "number" else "BYTES", "shape": [-1]} for f in model.schema
    ]
    answers = [
        {"name": output, "datatype": datatype, "shape": shape} for output, (datatype, shape) in outputs(model).items()
    ]
    return {
        "name": model.manifest.name,
        "versions": [model.version],
        "platform": "modelbundle",
        "inputs": inputs,
        "outputs": answers,
    }


def _named(model: Model, name: str, version: str | None) -> Model:
    if name != model.manifest.name or version not in (None, model.version):
        raise Refused(404, f"This model is not served now; {model.manifest.name} {model.version} is.")
    return model


def outputs(model: Model) -> dict[str, tuple[str, list[int]]]:
    """The tensors that an answer may have: datatype and shape, by name."""
    found = {
        "predict": (LABELS[type(model.classes[0])], [-1]),
        "predict_proba": ("FP64", [-1, len(model.classes)]),
        "prediction_id": ("BYTES", [-1]),
        "reasons": ("BYTES", [-1]),
        "warnings": ("BYTES", [-1]),
    }
    if model.manifest.bands:
        found["band"] = ("BYTES", [-1])
    return found


def _tensors(model: Model, asked: Tensors, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    tensors = []
    for name, (datatype, shape) in outputs(model).items():
        if asked.outputs and name not in asked.outputs:
            continue
        own = "prediction" if name == "predict" else name
        data: list[Any] = [getattr(answer, own) for answer in answers]
        if name == "predict_proba":
            data = [p for row in data for p in row]
        elif name in ("reasons", "warnings"):  # a string of JSON for each row
            data = [msgspec.json.encode(rows or []).decode() for rows in data]
        tensors.append({"name": name, "datatype": datatype, "shape": [len(answers), *shape[1:]], "data": data})
    return tensors
