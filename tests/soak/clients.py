"""Clients that ask without pause, check every answer against the version it names, and remember every failure."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load.background import Background


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a good answer: when its connection was opened, when it was sent, when it failed, and how."""

    opened: float
    sent: float
    at: float
    what: str


@dataclass
class Clients(Background):
    """``truth`` has the probability of every version for every record of ``records``. Times are of the monotonic clock."""

    port: int
    records: Sequence[Mapping[str, Any]]
    truth: Mapping[str, Sequence[float]]
    threads: int = 6
    latencies: list[tuple[float, float]] = field(default_factory=list)  # sent, seconds
    failures: list[Failure] = field(default_factory=list)
    wrong: int = 0
    stale: int = 0
    generations: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._bodies = [json.dumps(record).encode() for record in self.records]
        self._newest = 0  # the highest generation of which an answer has arrived

    def repeat(self, number: int) -> None:
        choose = random.Random(number)
        connection, opened = None, 0.0
        while not self.stopping.is_set():
            which = choose.randrange(len(self._bodies))
            newest, sent = self._newest, time.monotonic()
            try:
                if connection is None:
                    opened = sent
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("POST", "/predict", self._bodies[which], {"Content-Type": "application/json"})
                response = connection.getresponse()
                raw = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(Failure(opened, sent, time.monotonic(), f"{type(error).__name__}: {error}"))
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.01)
                continue
            received = time.monotonic()
            if response.status != 200:
                self.failures.append(Failure(opened, sent, received, f"{response.status} {raw[:200]!r}"))
                time.sleep(0.01)
                continue
            self.latencies.append((sent, received - sent))
            self._check(which, newest, response, json.loads(raw))
        if connection is not None:
            connection.close()

    def _check(self, which: int, newest: int, response: http.client.HTTPResponse, answer: dict[str, Any]) -> None:
        generation = int(response.headers["X-Model-Generation"])
        self.generations.add(generation)
        self.stale += generation < newest
        self._newest = max(self._newest, generation)
        version = answer["model_version"]
        known = self.truth.get(version)
        named = response.headers["X-Model-Version"] == version
        self.wrong += not named or known is None or answer["predict_proba"][1] != known[which]
