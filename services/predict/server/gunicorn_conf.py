"""gunicorn's configuration: from the settings, and the hooks that tie the follower to the workers' lives."""

from __future__ import annotations

import gc
import os
import shutil
from typing import Any

from prometheus_client import multiprocess

from services.predict.server.worker_class import Lanes, beside
from services.predict.server.worker_threads import Replica
from services.predict.serving.prediction_log import NONE
from services.predict.settings import Settings
from services.predictionlog import shipper
from services.web.telemetry import Telemetry

DRAIN_SECONDS = 10.0
COLLECT_AFTER = 30_000  # objects; four answers to a thousand loans each are twenty thousand, none of it in a cycle

settings = Settings.from_environment()

bind = f"{settings.host}:{settings.port}"
workers = settings.workers
threads = settings.threads
worker_class = Lanes
Lanes.most = settings.max_in_flight
preload_app = True
keepalive = 75
graceful_timeout = 30
timeout = 60
backlog = 2048
max_requests = 0
accesslog = None
logger_class = "services.web.gunicorn_logging.Logger"
control_socket_disable = True
# No header of a request changes its path or its scheme, whoever sends it: by default those from this host may.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}


def on_starting(server: Any) -> None:
    """Before the first worker: join this replica's session, and start the processes beside the workers as copies of this one.

    There is one thread here yet, and no socket is open that a copy could keep.
    """
    server.session = server.app.wsgi().store.begin_session()
    kept = []
    if settings.prediction_log_url != NONE:
        from services.predict.server import companions  # with all that reads and writes the log: nobody else needs it

        kept = companions.keepers(settings)
    gc.collect()
    gc.freeze()  # what the copies share stays shared: no collection of theirs touches it
    server.held = []
    for keeper in kept:
        server.held.append(keeper.fork(server.held))


def post_worker_init(worker: Any) -> None:
    """In a new worker, before it takes requests."""
    gc.set_threshold(COLLECT_AFTER)
    worker.wsgi.middleware.full = beside
    worker.wsgi.observer.at_work = lambda: worker.at_work
    worker.replica = Replica(worker.wsgi, settings)
    worker.replica.start()
    if settings.sentry_dsn or settings.otel_exporter_otlp_endpoint:
        routes = worker.wsgi.observer.routes
        worker.telemetry = Telemetry(
            "prediction-api", routes, settings.sentry_dsn, settings.otel_exporter_otlp_endpoint
        )
        worker.wsgi.middleware.export = worker.telemetry
    worker.replica.wait()


def child_exit(_: Any, worker: Any) -> None:
    """In the master, when a worker has ended: its gauges go with it, and its connections are gone."""
    Lanes.crowd.tell(worker.age, None)
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """In the master, at the very end: the workers are gone, and what they spooled goes with us, if it can."""
    for descriptor in server.held:
        os.close(descriptor)
    if settings.prediction_log_url != NONE:
        shipper.drain(settings.data_dir / "spool", settings.prediction_log_url, DRAIN_SECONDS)
    shutil.rmtree(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""), ignore_errors=True)


def worker_exit(_: Any, worker: Any) -> None:
    """In a worker that ends in good order."""
    if replica := getattr(worker, "replica", None):
        replica.stop()
    if telemetry := getattr(worker, "telemetry", None):
        telemetry.stop()
