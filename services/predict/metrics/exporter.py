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
from typing import TypeVar
from wsgiref.types import WSGIEnvironment

from flask import Blueprint, Flask, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

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
from services.predict.metrics.gauges import Facts
from services.predict.rollout.state_machine import REFUSALS

blueprint = Blueprint("metrics", __name__)
EVERY = 0.25  # seconds between writings
T = TypeVar("T")


class Observer:
    """Counts what passes the edge. Requests only append to deques, which needs no lock; :meth:`write` empties them.

    ``at_work`` says how many requests this worker has.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        self.routes = frozenset(routes)
        self._finished: deque[tuple[str, str, int, float]] = deque()
        self._bands: deque[str | None] = deque()
        self.at_work: Callable[[], int] = int
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def __call__(self, environ: WSGIEnvironment, status: int, took: float) -> None:
        """One finished request."""
        self._finished.append((environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"], status, took))
        if "request.shed" in environ:
            shed.inc()
        if status == 500:
            bugs.inc()

    def scored(self, bands: Iterable[str | None]) -> None:
        """Rows that were answered: the band of each."""
        self._bands.extend(bands)

    def write(self) -> None:
        """Write what was counted since the last time."""
        in_flight.set(self.at_work())
        number: Tally[tuple[str, str, int]] = Tally()
        took: dict[str, list[float]] = {}
        for path, method, status, each in _emptied(self._finished):
            route = path if path in self.routes else OTHER
            number[route, method if method in ("GET", "POST", "HEAD") else OTHER, status] += 1
            took.setdefault(route, []).append(each)
        for (route, method, status), count in number.items():
            requests.labels(route, method, str(status)).inc(count)
        for route, amounts in took.items():
            seconds.labels(route).observe_all(amounts)
        for band, count in Tally(_emptied(self._bands)).items():
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


def init_app(app: Flask) -> Observer:
    """Add ``/metrics`` to ``app``; returns what counts."""
    app.register_blueprint(blueprint)
    prepare()
    return Observer(str(rule) for rule in app.url_map.iter_rules() if not rule.arguments)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Everything that was measured, over all processes."""
    current_app.extensions["observer"].write()
    together = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    else:
        together.register(registry)
    extensions = current_app.extensions
    recorder = extensions["recorder"]
    together.register(Facts(extensions["store"], extensions["health"], recorder.root, recorder.max_bytes))
    together.register(extensions["watch"])
    return Response(generate_latest(together), content_type=CONTENT_TYPE_LATEST)
