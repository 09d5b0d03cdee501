"""Counting on the way of a request: in memory, and written to the metrics' files together.

Writing one by one costs a twentieth of a request, so :class:`Observer` writes each quarter of a second, and before a scrape of
its own worker. A worker that is killed loses its last quarter of a second.
"""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TypeVar

from werkzeug.routing import Map

from modelbundle.schema import Schema
from modelbundle.validation.problems import unescape
from services.predict.metrics.counters import (
    OTHER,
    bugs,
    in_flight,
    predictions,
    requests,
    rows,
    seconds,
    shed,
    switches,
    warnings,
)
from services.predict.rollout.protocol import REFUSALS
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
