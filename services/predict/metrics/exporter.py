"""``GET /metrics``: measurements in Prometheus' conventions, over all worker processes of this replica.

Each process has its values in files (:mod:`services.web.process_metrics`). One that ended leaves its counts and takes its gauges
with it.

The page is for operators. A request that came through a proxy names its caller in ``X-Forwarded-For``, and is answered 404,
however the proxy understood its address.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

from flask import Blueprint, Response, abort, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from services.predict.metrics.counters import registry
from services.predict.metrics.observer import Observer, prepare
from services.web import process_metrics


def blueprint(observer: Observer, *gauges: Collector) -> Blueprint:
    """The view ``GET /metrics``; ``gauges`` are what is true now, made at each scrape."""
    views = Blueprint("metrics", __name__)
    prepare()

    @views.get("/metrics")
    def metrics() -> Response:
        """Everything that was measured, over all processes."""
        if "X-Forwarded-For" in request.headers:
            abort(404)
        observer.write()
        together = CollectorRegistry()
        directory = os.environ.get(process_metrics.VARIABLE)
        if directory:
            MultiProcessCollector(together, directory)  # type: ignore[no-untyped-call]
        else:
            together.register(registry)
        for collector in gauges:
            together.register(collector)
        with process_metrics.reading(Path(directory)) if directory else nullcontext():
            text = generate_latest(together)
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    return views
