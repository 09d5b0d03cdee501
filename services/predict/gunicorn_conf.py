"""gunicorn's configuration: from the settings, and the hooks that tie the follower to the workers' lives."""

from __future__ import annotations

from typing import Any

from services.predict.replica import Replica
from services.predict.settings import Settings

settings = Settings.from_environment()

bind = f"{settings.host}:{settings.port}"
workers = settings.workers
threads = settings.threads
worker_class = "gthread"
preload_app = True
keepalive = 75
graceful_timeout = 30
timeout = 60
backlog = 2048
max_requests = 0
accesslog = None
logger_class = "services.gunicornlog.Logger"
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Before the first fork: join this replica's session."""
    server.session = server.app.wsgi().extensions["store"].begin_session()


def post_worker_init(worker: Any) -> None:
    """In a new worker, before it takes requests."""
    worker.replica = Replica(worker.wsgi, settings)
    worker.replica.start()
    worker.replica.wait()


def worker_exit(_: Any, worker: Any) -> None:
    """In a worker that ends in good order."""
    if replica := getattr(worker, "replica", None):
        replica.stop()
