"""``GET /metrics``: measurements in Prometheus' conventions, over all worker processes of this replica.

``prometheus_client`` keeps each process's values in files of ``PROMETHEUS_MULTIPROC_DIR``, which is made anew at each start. A
process that ended leaves its counts and takes its gauges with it.
"""

from __future__ import annotations

import os

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from services.predict.metrics.counters import registry
from services.predict.metrics.observer import Observer, prepare


def blueprint(observer: Observer, *gauges: Collector) -> Blueprint:
    """The view ``GET /metrics``; ``gauges`` are what is true now, made at each scrape."""
    views = Blueprint("metrics", __name__)
    prepare()

    @views.get("/metrics")
    def metrics() -> Response:
        """Everything that was measured, over all processes."""
        observer.write()
        together = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        else:
            together.register(registry)
        for collector in gauges:
            together.register(collector)
        return Response(generate_latest(together), content_type=CONTENT_TYPE_LATEST)

    return views
