"""Measurements in Prometheus' conventions, over all worker processes of this replica.

``prometheus_client`` keeps each process's values in files of ``PROMETHEUS_MULTIPROC_DIR``, which is made anew at each start; a
process that ended leaves its counts and takes its gauges with it. Labels are bounded: routes and methods are those that the
application has, bands those of its models.

Requests are counted in memory and written together, each quarter of a second: writing one by one costs a twentieth of a request.
``/metrics`` writes its own worker's first. A worker that is killed takes its last quarter of a second along.
"""

from __future__ import annotations

import os
import threading
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TypeVar

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from werkzeug.routing import Map

from modelbundle.schema import Schema
from modelbundle.validation.validator import unescape
from services.predict.metrics.counters import (
    OTHER,
    bugs,
    in_flight,
    predictions,
    registry,
    requests,
    rows,
    seconds,
    shed,
    switches,
    warnings,
)
from services.predict.rollout.state_machine import REFUSALS
from services.web.middleware import Finished

EVERY = 0.25  # seconds between writings
T = TypeVar("T")


class Observer:
    """Counts requests and answers. Requests only append to ``finished`` and ``bands``; :meth:`write` empties them.

    A deque's append needs no lock. ``at_work`` says how many requests this worker has.
    """

    def __init__(self, url_map: Map) -> None:
        self.finished: deque[Finished] = deque()
        self.bands: deque[str | None] = deque()
        self.at_work: Callable[[], int] = int
        self._url_map = url_map
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    @cached_property
    def routes(self) -> frozenset[str]:
        """The application's addresses; those with a variable part count as :data:`OTHER`."""
        return frozenset(str(rule) for rule in self._url_map.iter_rules() if not rule.arguments)

    def write(self) -> None:
        """Write what was counted since the last time."""
        in_flight.set(self.at_work())
        number: Tally[tuple[str, str, int]] = Tally()
        took: dict[str, list[float]] = {}
        for request in _emptied(self.finished):
            route = request.path if request.path in self.routes else OTHER
            method = request.method if request.method in ("GET", "POST", "HEAD") else OTHER
            number[route, method, request.status] += 1
            took.setdefault(route, []).append(request.seconds)
            if request.shed:
                shed.inc()
            if request.status == 500:
                bugs.inc()
        for (route, method, status), count in number.items():
            requests.labels(route, method, str(status)).inc(count)
        for route, amounts in took.items():
            seconds.labels(route).observe_all(amounts)
        for band, count in Tally(_emptied(self.bands)).items():
            rows.inc(count)
            predictions.labels(band or "none").inc(count)

    def start(self) -> None:
        """Write regularly from now on, in a thread; after the fork."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and write what is left."""
        self._stop.set()
        self._thread.join(5)
        self.write()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.write()


def _emptied(queue: deque[T]) -> Iterator[T]:
    while queue:
        try:
            yield queue.popleft()
        except IndexError:  # another thread had the last one
            return


def warned(schema: Schema, problems: Iterable[dict[str, str]]) -> None:
    """Count warnings by feature. A pointer's parts are looked up in the schema, so that labels are the model's own words."""
    parts = (map(unescape, problem["pointer"].split("/")) for problem in problems)
    for name, count in Tally(next((part for part in found if part in schema.index), OTHER) for found in parts).items():
        warnings.labels(name).inc(count)


def prepare() -> None:
    """Labelled counts begin at 0, so that the first of a kind is seen as an increase."""
    switches.labels("switched", "")
    for reason in REFUSALS:
        switches.labels("refused", reason)


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
