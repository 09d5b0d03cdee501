"""Load at a fixed rate, below what the server can do, that remembers every prediction it was told of.

Each connection has a timetable. A request that is due while the one before has no answer yet is sent late, and its latency counts
from when it was due: what a stall does to those who wait behind it is seen. Only loopback is ever a target.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from benchmarks.load.background import Background
from benchmarks.load.closed_loop import Client

PREDICTION = re.compile(rb'"prediction_id": ?"([^"]+)"')
GIVES_UP = 30.0  # seconds without an answer after which a request has failed


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and how many predictions its answer holds."""

    content: bytes
    rows: int


@dataclass
class Steady(Background):
    """Sends ``requests`` in turn to ``port``, ``rate`` a second, while it is entered. Times are of ``time.perf_counter``."""

    port: int
    requests: Sequence[Request]
    rate: float
    threads: int = 8
    told: list[str] = field(default_factory=list)  # the ids of all predictions in answers
    failures: list[tuple[float, str]] = field(default_factory=list)  # when it was due, and what happened
    latencies: list[tuple[float, int, float]] = field(default_factory=list)  # when it was due, its rows, seconds

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return super().__enter__()

    def repeat(self, number: int) -> None:
        """Send every request of connection ``number`` when it is due."""
        client = None
        due, answered = self._began + number / self.rate, 0.0
        turn = number * len(self.requests) // self.threads  # the rarer requests do not come all at once
        while not self.stopping.wait(max(0.0, due - time.perf_counter())):
            request = self.requests[turn % len(self.requests)]
            since = due if answered > due else time.perf_counter()
            try:
                if client is None:
                    client = Client(self.port, b"")
                    client.socket.settimeout(GIVES_UP)
                client.request = request.content
                self._judge(request, since, client.ask(), b"".join(client.parts))
            except (OSError, ValueError) as error:
                self.failures.append((since, f"{type(error).__name__}: {error}"))
                if client is not None:
                    client.socket.close()
                client = None
            answered = time.perf_counter()
            turn += 1
            due += self.threads / self.rate
        if client is not None:
            client.socket.close()

    def _judge(self, request: Request, since: float, status: int, answer: bytes) -> None:
        took = time.perf_counter() - since
        ids = [found.decode() for found in PREDICTION.findall(answer)]
        self.told.extend(ids)
        if status == 200 and len(ids) == request.rows:
            self.latencies.append((since, request.rows, took))
        else:
            self.failures.append((since, f"{status}, {len(ids)} predictions of {request.rows}"))
