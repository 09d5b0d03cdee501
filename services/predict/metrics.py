"""Measurements in Prometheus' conventions, over all worker processes of this replica.

``prometheus_client`` keeps each process's values in files of ``PROMETHEUS_MULTIPROC_DIR``, which is made anew at each start; a
process that ended leaves its counts and takes its gauges with it. Labels are bounded: routes and methods are those that the
application has, bands those of its models.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIEnvironment

from flask import Blueprint, Flask, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from services.predict.switch import REFUSALS
from services.predictionlog import spool

blueprint = Blueprint("metrics", __name__)
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
OTHER = "other"

registry = CollectorRegistry()
requests = Counter(
    "peerloan_http_requests",
    "HTTP requests by route, method and status",
    ["route", "method", "status"],
    registry=registry,
)
seconds = Histogram(
    "peerloan_http_request_seconds",
    "Seconds from a request's head to its answer",
    ["route"],
    buckets=BUCKETS,
    registry=registry,
)
rows = Counter("peerloan_rows", "Rows that were scored", registry=registry)
predictions = Counter("peerloan_predictions", "Rows that were scored, by band", ["band"], registry=registry)
shed = Counter("peerloan_shed", "Requests answered 503 because too many were waiting", registry=registry)
generation = Gauge(
    "peerloan_model_generation", "The current switch's number", multiprocess_mode="max", registry=registry
)
switches = Counter(
    "peerloan_model_switches",
    "What became of pins, by outcome (switched, refused) and the class of the reason",
    ["outcome", "reason"],
    registry=registry,
)
outcomes = Counter("peerloan_outcomes", "Outcomes that were sent, by what came of them", ["status"], registry=registry)
fetch_failures = Counter("peerloan_model_fetch_failures", "Downloads of a model that failed", registry=registry)
unlogged = Counter("peerloan_predictions_unlogged", "Rows that the prediction log did not take", registry=registry)
spool_bytes = Gauge(
    "peerloan_log_spool_bytes", "What waits for the database", multiprocess_mode="mostrecent", registry=registry
)
spool_seconds = Gauge(
    "peerloan_log_spool_seconds", "How long the oldest of it waits", multiprocess_mode="mostrecent", registry=registry
)


class Observer:
    """Counts what passes the edge. Children of labelled metrics are kept: looking one up costs as much as counting."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._routes = frozenset(routes)
        self._requests: dict[tuple[str, str, int], Any] = {}
        self._seconds = {route: seconds.labels(route) for route in (*self._routes, OTHER)}
        self._bands: dict[str, Any] = {}

    def __call__(self, environ: WSGIEnvironment, status: int, took: float) -> None:
        """One finished request."""
        path = environ.get("PATH_INFO", "")
        route = path if path in self._routes else OTHER
        method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in ("GET", "POST", "HEAD") else OTHER
        key = (route, method, status)
        child = self._requests.get(key)
        if child is None:
            child = self._requests[key] = requests.labels(route, method, str(status))
        child.inc()
        self._seconds[route].observe(took)
        if "request.shed" in environ:
            shed.inc()

    def scored(self, number: int, bands: Iterable[str | None]) -> None:
        """Rows that were answered, with their bands."""
        rows.inc(number)
        for band, count in Tally(bands).items():
            name = band or "none"
            child = self._bands.get(name)
            if child is None:
                child = self._bands[name] = predictions.labels(name)
            child.inc(count)


def prepare() -> None:
    """Labelled counts begin at 0, so that the first of a kind is seen as an increase."""
    switches.labels("switched", "")
    for reason in REFUSALS:
        switches.labels("refused", reason)


def init_app(app: Flask) -> Observer:
    """Add ``/metrics`` to ``app``; returns what counts."""
    app.register_blueprint(blueprint)
    prepare()
    return Observer(str(rule) for rule in app.url_map.iter_rules() if not rule.arguments)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Everything that was measured, over all processes."""
    generation.set(current_app.extensions["store"].current().number)
    root = current_app.extensions["recorder"].root
    spool_bytes.set(spool.size(root))
    spool_seconds.set(max(0.0, time.time() - (spool.oldest(root) or math.inf)))
    together = registry
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return Response(generate_latest(together), content_type=CONTENT_TYPE_LATEST)
