"""gunicorn's configuration: values from the settings, and hooks that start and stop the threads of each worker."""

from __future__ import annotations

import gc
import os
import shutil
from typing import Any

from prometheus_client import multiprocess

from services.predict.server import companions
from services.predict.server.worker_class import TwoPoolWorker, in_side_pool
from services.predict.server.worker_threads import WorkerThreads
from services.predict.settings import NO_LOG, Settings
from services.predictionlog import shipper
from services.web import json_logging
from services.web.telemetry import Telemetry

DRAIN_SECONDS = 10.0
COLLECT_AFTER = 30_000  # objects; four answers to 1,000 loans each make 20,000, and none of them is in a cycle

settings = Settings.from_environment()

bind = f"{settings.host}:{settings.port}"
workers = settings.workers
threads = settings.threads
worker_class = TwoPoolWorker
TwoPoolWorker.max_in_flight = settings.max_in_flight
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
    server.session = server.app.wsgi().store.begin_session()
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
    worker.wsgi.full = in_side_pool
    worker.wsgi.observer.at_work = lambda: worker.in_flight
    worker.background = WorkerThreads(worker.wsgi, settings)
    worker.background.start()
    if settings.sentry_dsn or settings.otel_exporter_otlp_endpoint:
        routes = worker.wsgi.observer.routes
        worker.telemetry = Telemetry(
            "prediction-api", routes, settings.sentry_dsn, settings.otel_exporter_otlp_endpoint
        )
        worker.wsgi.export = worker.telemetry
    worker.background.wait()


def child_exit(_: Any, worker: Any) -> None:
    """Remove the gauges and the connection count of a worker that has ended. The master calls it."""
    TwoPoolWorker.counts.publish(worker.age, None)
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """End the companions and ship what the workers left in the spool. The master calls it after the last worker has ended."""
    for descriptor in server.held:
        os.close(descriptor)
    if settings.prediction_log_url != NO_LOG:
        shipper.drain(settings.data_dir / "spool", settings.prediction_log_url, DRAIN_SECONDS)
    shutil.rmtree(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""), ignore_errors=True)


def worker_exit(_: Any, worker: Any) -> None:
    """Stop the threads of a worker that ends in good order."""
    if background := getattr(worker, "background", None):
        background.stop()
    if telemetry := getattr(worker, "telemetry", None):
        telemetry.stop()
