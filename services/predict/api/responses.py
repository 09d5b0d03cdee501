"""The HTTP half of predictions: responses with the headers that name the model, and the problem for each refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Response

from modelbundle.validation.problems import MOST_COUNTED, Invalid, Problem, TooManyRows, unescape
from modelbundle.validation.rules import MISSING, UNKNOWN
from services.predict.serving.loaded_models import Models, NoModel, Serving
from services.predict.serving.predictor import InvalidKey
from services.web import problem
from services.web.problem import Refused, retry_after

MODEL_HEADERS = VERSION, GENERATION = "X-Model-Version", "X-Model-Generation"


class JsonResponse(Response):
    """A complete body of JSON with 200: it is sent as it is, without the work that Flask does for other responses."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send it."""
        del environ
        start_response(self.status, self.headers.to_wsgi_list())
        return self.response  # type: ignore[return-value]


def answered(content: bytes | Response, serving: Serving, environ: dict[str, Any], rows: int = 0) -> Response:
    """``content`` (JSON, or a response) with the headers that name its model. The request log gets the model and ``rows``."""
    version, generation = serving.model.version, serving.generation.number
    environ["request.facts"] = {"model_version": version, "generation": generation, "rows": rows}
    if isinstance(content, Response):
        return named(content, serving)
    response = JsonResponse(
        headers=[
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            (VERSION, version),
            (GENERATION, str(generation)),
        ]
    )
    response.response = [content]
    return response


def named(response: Response, serving: Serving) -> Response:
    """``response`` with the headers that name its model."""
    response.headers.add(VERSION, serving.model.version)
    response.headers.add(GENERATION, str(serving.generation.number))
    return response


def current(models: Models) -> Serving:
    """The model that answers now; raises :class:`Refused` with 503."""
    try:
        return models.current()
    except NoModel as error:
        raise no_model(error) from None


def no_model(error: NoModel) -> Refused:
    """The answer while no model can answer."""
    return Refused(503, f"No model can answer now: {error}.", headers=retry_after(1))


def refusal(
    error: Exception,
    environ: dict[str, Any],
    place: Callable[[str], str] = lambda pointer: pointer,
    what: str = "the model's schema",
) -> Refused:
    """The answer to each of :data:`services.predict.serving.predictor.REFUSALS`.

    ``place`` translates pointers into the document that was sent.
    """
    if isinstance(error, NoModel):
        return no_model(error)
    if isinstance(error, InvalidKey):
        return Refused(400, str(error))
    if isinstance(error, TooManyRows):
        return Refused(413, f"{error}.", max_rows=error.limit)
    if not isinstance(error, Invalid):
        raise error
    errors = [_placed(found, place(found.pointer)) for found in error.problems]
    environ["request.facts"] = {"problem": _logged(errors[0]), "problems": error.total}
    count = "1 problem" if error.total == 1 else f"{error.total} problems"
    if error.total >= MOST_COUNTED:
        count = f"at least {count}"
    return Refused(422, f"The request does not fit {what}: {count}.", errors)


def _logged(error: dict[str, str]) -> dict[str, str]:
    """The first problem as a log has it: without the name of an unknown field, which is the caller's text."""
    pointer = error["pointer"]
    return {**error, "pointer": pointer.rpartition("/")[0]} if error["detail"].startswith(UNKNOWN) else error


def translated(error: Refused, member: str, **more: Any) -> Response:
    """``error`` for another protocol: 422 becomes 400, and ``member`` has the detail and the first problem in a sentence."""
    first = f" {error.errors[0]['pointer']}: {error.errors[0]['detail']}" if error.errors else ""
    members = {member: error.detail + first, **error.more, **more}
    status = 400 if error.status == 422 else error.status
    return problem.response(status, error.detail, error.errors, error.headers, **members)


def _placed(problem: Problem, pointer: str) -> dict[str, str]:
    """A missing field has no location in the request, so ``detail`` names it where the pointer does not."""
    detail = problem.detail
    if detail == MISSING and not pointer.endswith(problem.pointer):
        detail = f"`{unescape(problem.pointer.rpartition('/')[2])}` {MISSING}"
    return {"pointer": pointer, "detail": detail}
