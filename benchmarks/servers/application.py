"""The application that all servers of this comparison serve: the prediction API without companions, and two large answers.

It has no follower, no prediction log and no monitor, so what differs between the servers is the servers. The model is
already current in ``STATE_DIR``.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from services.predict.app import Application, create_app
from services.predict.serving import memory_budget
from services.predict.settings import Settings

COLLECT_AFTER = 30_000  # objects, as in the server's own configuration
PIECE = b" " * (1 << 16)
PIECES = 96  # of a large answer: 6 MB
WHOLE = "/large/whole"  # one piece, as JSON answers are
STREAMED = "/large/streamed"  # piece by piece, as CSV answers are


class WithLargeAnswers:
    """The prediction API, and two addresses whose answers are large and cost nothing to make."""

    def __init__(self, api: Application) -> None:
        self.api = api

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path not in (WHOLE, STREAMED):
            return self.api(environ, start_response)
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(PIECES * len(PIECE)))]
        start_response("200 OK", headers)
        return [PIECE * PIECES] if path == WHOLE else iter([PIECE] * PIECES)


def create() -> WithLargeAnswers:
    """The application, before a server forks its workers."""
    return WithLargeAnswers(create_app(Settings.from_environment()))


def share() -> None:
    """Let forked workers share what is loaded: no collection of garbage touches it. Called before the fork."""
    gc.collect()
    gc.freeze()


def start(application: WithLargeAnswers) -> None:
    """Prepare a worker process, after the fork: load the model, and count in the background."""
    gc.set_threshold(COLLECT_AFTER)
    memory_budget.bound_heaps()
    application.api.models.resolve()
    application.api.observer.start()


def create_started() -> WithLargeAnswers:
    """The application in a worker process of a server without hooks."""
    application = create()
    start(application)
    return application
