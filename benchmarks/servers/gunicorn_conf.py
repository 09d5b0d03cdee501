"""gunicorn's configuration, for our worker and for its own: ``WORKER_CLASS`` names one. All else is as in production."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.servers import application
from services.predict.server.worker_class import TwoPoolWorker, shedding
from services.predict.settings import Settings
from services.web import json_logging

OURS = "ours"

settings = Settings.from_environment()
name = os.environ["WORKER_CLASS"]

bind = f"{settings.host}:{settings.port}"
workers = settings.workers
threads = 1 if name == "sync" else settings.threads  # gunicorn takes gthread for sync with threads
worker_class = TwoPoolWorker if name == OURS else name
worker_connections = 2000
sendfile = name != OURS
preload_app = name != "gevent"  # it patches the interpreter, in the worker, before it loads
keepalive = 75
graceful_timeout = 30
timeout = 60
backlog = 2048
accesslog = None
logconfig_dict = json_logging.LOGGING
control_socket_disable = True

TwoPoolWorker.max_in_flight = settings.max_in_flight
TwoPoolWorker.max_body = settings.max_body_bytes
TwoPoolWorker.head_seconds = settings.head_seconds
TwoPoolWorker.body_seconds = settings.body_seconds
TwoPoolWorker.answer_seconds = settings.answer_seconds
TwoPoolWorker.spool_directory = settings.data_dir


def on_starting(_: Any) -> None:
    """Share what is loaded."""
    application.share()


def post_worker_init(worker: Any) -> None:
    """Prepare a worker."""
    if name == OURS:
        worker.wsgi.api.full = shedding
    application.start(worker.wsgi)


def child_exit(_: Any, worker: Any) -> None:
    """Remove the connection count of a worker that has ended."""
    TwoPoolWorker.counts.publish(worker.age, None)
