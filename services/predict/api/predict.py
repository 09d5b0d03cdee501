"""``POST /predict``: JSON in, the answer of the current model as JSON out; or CSV, or an Arrow IPC stream, in and out."""

from __future__ import annotations

from flask import Blueprint, Response, request

from services.predict.api import predict_csv
from services.predict.api.arrow import predict as predict_arrow
from services.predict.api.request_body import BodyReader, check_type, parse
from services.predict.api.responses import answered, refusal
from services.predict.serving.loaded_models import NoModel
from services.predict.serving.predictor import REFUSALS, InvalidKey, Predictor
from services.web.problem import Refused


def blueprint(predictor: Predictor, bodies: BodyReader, max_csv_rows: int) -> Blueprint:
    """The view ``POST /predict``."""
    views = Blueprint("predict", __name__)

    @views.post("/predict")
    def predict() -> Response:
        """Score what was sent."""
        sent = request._get_current_object()  # type: ignore[attr-defined]  # the proxy costs as much as the scoring
        environ = sent.environ
        every_term = _every_term(sent.args.get("contributions")) if environ.get("QUERY_STRING") else False
        declared = environ.get("CONTENT_TYPE", "")
        if declared != "application/json":
            if declared[:8].lower() == "text/csv":
                return predict_csv.answer(predictor, bodies, max_csv_rows, sent, every_term)
            if declared.lower().startswith(predict_arrow.MEDIA_TYPE):
                return predict_arrow.answer(predictor, bodies, sent, every_term)
        check_type(sent)
        body = bodies.read(sent)
        try:  # the content has no name here, so that it is freed before the answers are made
            found = predictor.predict(
                bodies.document(body, environ, predictor.max_rows, later=True), environ, every_term
            )
        except REFUSALS as error:
            if isinstance(error, (NoModel, InvalidKey)):
                parse(body)  # what is wrong with the body is said first, also of one that was not parsed yet
            raise refusal(error, environ) from None
        if found.single:
            body = found.to_json()[1:-1]
        else:
            body = b'{"predictions":%b,"model_version":"%b"}' % (found.to_json(), found.serving.model.version.encode())
        return answered(body, found.serving, environ, len(found.answers))

    return views


def _every_term(value: str | None) -> bool:
    if value not in (None, "all"):
        raise Refused(422, "The query parameter contributions takes the value all.")
    return value == "all"
