"""gunicorn's configuration: values from the settings, and hooks that start and stop the threads of each worker."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path
from typing import Any

from services.predict.metrics import counters
from services.predict.server import companions
from services.predict.server.watchdog import Watchdog
from services.predict.server.worker_class import TwoPoolWorker, shedding
from services.predict.server.worker_threads import WorkerThreads
from services.predict.serving import memory_budget
from services.predict.settings import NO_LOG, Settings
from services.predictionlog import shipper
from services.web import json_logging, process_metrics
from services.web.telemetry import Telemetry

DRAIN_SECONDS = 10.0
COLLECT_AFTER = 30_000  # objects; four answers to 1,000 rows each make 20,000, and none of them is in a cycle

settings = Settings.from_environment()

bind = f"{settings.host}:{settings.port}"
workers = settings.workers
threads = settings.threads
worker_class = TwoPoolWorker
worker_connections = 2000
sendfile = False  # it would wait for the client
TwoPoolWorker.max_in_flight = settings.max_in_flight
TwoPoolWorker.max_body = settings.max_body_bytes
TwoPoolWorker.head_seconds = settings.head_seconds
TwoPoolWorker.body_seconds = settings.body_seconds
TwoPoolWorker.answer_seconds = settings.answer_seconds
TwoPoolWorker.spool_directory = settings.data_dir
preload_app = True
keepalive = 75
graceful_timeout = 30
timeout = 60
backlog = 2048
max_requests = 0
accesslog = None
logconfig_dict = json_logging.LOGGING
control_socket_disable = True
# No header of a request changes its path or its scheme. By default, requests from this host may do so.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}


def on_starting(server: Any) -> None:
    """Join this replica's session and fork the companions, before the first worker.

    The master has one thread and no open socket yet, so a copy inherits neither.
    """
    json_logging.log_uncaught()
    application = server.app.wsgi()
    server.session = application.store.begin_session(), application.share.begin_session()
    kept = []
    if settings.prediction_log_url != NO_LOG:
        kept = companions.preload(settings)
    gc.collect()
    gc.freeze()  # no garbage collection of a copy touches these objects, so their memory stays shared
    server.held = []
    for supervisor in kept:
        server.held.append(supervisor.fork(server.held))


def post_worker_init(worker: Any) -> None:
    """Prepare a new worker before it takes requests."""
    gc.set_threshold(COLLECT_AFTER)
    memory_budget.bound_heaps()
    worker.wsgi.full = shedding
    worker.ended = lambda reason: counters.ended.labels(reason).inc()
    worker.wsgi.observer.at_work = lambda: worker.in_flight
    worker.background = WorkerThreads(worker.wsgi, settings)
    worker.background.start()
    Watchdog(worker, worker.background, settings).start()
    if settings.sentry_dsn or settings.otel_exporter_otlp_endpoint:
        routes = worker.wsgi.observer.routes
        worker.telemetry = Telemetry(
            "prediction-api", routes, settings.sentry_dsn, settings.otel_exporter_otlp_endpoint
        )
        worker.wsgi.export = worker.telemetry
    worker.background.wait()


def child_exit(_: Any, worker: Any) -> None:
    """Add up the counts of a worker that has ended and remove its connection count. The master calls it."""
    TwoPoolWorker.counts.publish(worker.age, None)
    process_metrics.fold(Path(os.environ[process_metrics.VARIABLE]))


def on_exit(server: Any) -> None:
    """End the companions and ship what the workers left in the spool. The master calls it after the last worker has ended."""
    for descriptor in server.held:
        os.close(descriptor)
    if settings.prediction_log_url != NO_LOG:
        shipper.drain(settings.data_dir / "spool", settings.prediction_log_url, DRAIN_SECONDS)
    shutil.rmtree(os.environ.get(process_metrics.VARIABLE, ""), ignore_errors=True)


def worker_exit(_: Any, worker: Any) -> None:
    """Stop the threads of a worker that ends in good order."""
    if background := getattr(worker, "background", None):
        background.stop()
    if telemetry := getattr(worker, "telemetry", None):
        telemetry.stop()
