"""``POST /predict`` with an Arrow IPC stream: a table in, a table out, all rows in one request and by the rules of JSON."""

from __future__ import annotations

from flask import Request, Response

from services.predict.api.arrow import answers, columns
from services.predict.api.request_body import BodyReader, check_encoding
from services.predict.api.responses import answered, refusal
from services.predict.serving.predictor import REFUSALS, Predictor
from services.web.problem import Refused

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
MOST_COLUMNS = 10_000  # of a stream: enough for a wide model; the names that it does not have are refused by name
FREE = 1 << 20  # bytes of content that ask for no memory: a small body may have a large one
NOT_INSTALLED = (
    f"This API takes {MEDIA_TYPE} only where pyarrow is installed: build its image with ARROW=1, or install "
    "env-setup/arrow.txt. Send application/json or text/csv."
)


def answer(predictor: Predictor, bodies: BodyReader, request: Request, every_term: bool) -> Response:
    """The answers to the rows that were sent, in order; see :func:`services.predict.api.arrow.answers.stream`."""
    environ = request.environ
    check_encoding(request)
    if request.mimetype != MEDIA_TYPE:
        raise Refused(415, f"Content-Type must be {MEDIA_TYPE} or application/json.")
    if not columns.INSTALLED:
        raise Refused(415, NOT_INSTALLED, headers={"Accept-Post": "application/json, text/csv"})
    body = bodies.read(request)
    try:
        sent = columns.Stream(body, MOST_COLUMNS, predictor.max_rows, bodies.max_bytes)
        if (cost := sent.cost()) > FREE:
            bodies.claim(environ, cost)
        found = predictor.predict(None, environ, every_term, sent.validated, in_columns=True)
    except REFUSALS as error:
        raise refusal(error, environ) from None
    content = answers.stream(found.answers, found.serving.model, every_term)
    response = answered(content, found.serving, environ, len(found.answers))
    response.headers["Content-Type"] = MEDIA_TYPE
    return response
