"""Probation: what a worker sees of a model that was just switched to, and when that makes it unfit.

Only what the model did counts: a request that fails is at once asked of the model before, and counts where that one answers it.
Request threads take no lock, so counts of requests may miss a few; one failure is never missed.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from modelbundle.format.allowance import CONTRACT
from modelbundle.model import Answer, Model
from modelbundle.validation.problems import Problem, unescape
from modelbundle.validation.validator import Many, One
from services.predict.gates.replay import Row, fit, probabilities

SLOW = 0.01  # seconds a row, below which no model is slow
TIMES = 20  # as long as the model before, from which a request counts as slow
MOST_CRASHES = 1  # of workers; one may be a chance
MANY = 20  # slow requests, which are also at least half of all, make a model unfit
KEPT = 200  # times of slow requests
ENOUGH = 100  # requests that are timed with both models; if most of them are not slow by then, no more are


class Evidence(msgspec.Struct):
    """What one worker saw of one ``generation``, or several workers together; counts of requests.

    ``failures`` are by what was wrong, ``misfits`` by feature and rule. ``slow`` has pairs of seconds a row: of the model, and of
    the model before. ``hangs`` and ``crashes`` count the workers that ended so.
    """

    generation: int
    requests: int = 0
    failures: dict[str, int] = {}
    misfits: dict[str, int] = {}
    slow_requests: int = 0
    slow: list[tuple[float, float]] = []
    hangs: dict[str, int] = {}
    crashes: dict[str, int] = {}


class Trial:
    """Watches the model of one generation in one worker. ``model`` gives the model before, by its SHA-256, while it is loaded."""

    def __init__(self, generation: int, fallback: str, model: Callable[[str], Model | None]) -> None:
        self.generation = generation
        self.fallback = fallback
        self._model = model
        self._requests = self._timed = self._slow = 0
        self._failures: dict[str, int] = {}
        self._misfits: dict[str, int] = {}
        self._times: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def answered(self, model: Model, asked: One | Many, answers: Sequence[Answer], seconds: float) -> None:
        """A request was scored in ``seconds``."""
        self._requests += 1
        each = seconds / len(answers)
        if each < SLOW or (self._timed >= ENOUGH and 2 * self._slow < self._timed):
            return
        self._timed += 1
        took = self._score(records(model, asked, range(len(answers))))
        if took is not None and each >= TIMES * took / len(answers):
            self._slow += 1
            self._times.append((each, took / len(answers)))

    def failed(self, model: Model, asked: One | Many, wrong: Mapping[int, str]) -> None:
        """A request had rows for which the model gave no probability. ``wrong`` maps their positions to why."""
        self._requests += 1
        if self._score(records(model, asked, list(wrong))) is not None:
            _count(self._failures, next(iter(wrong.values())))

    def refused(self, problems: Sequence[Problem], read: Callable[[Model], object]) -> None:
        """A request did not fit the schema. ``read`` validates it for another model, and raises where it does not fit that."""
        self._requests += 1
        before = self._model(self.fallback)
        if before is None or not problems:
            return
        try:
            read(before)
        except Exception:  # every protocol has its own: what the client did is not what the model did
            return
        names = [name for name in problems[0].pointer.split("/") if name and not name.isdigit()]
        _count(self._misfits, f"`{unescape(names[-1])}` {problems[0].detail}" if names else problems[0].detail)

    def evidence(self) -> Evidence:
        """All of it, so far."""
        return Evidence(
            self.generation,
            self._requests,
            dict(self._failures),
            dict(self._misfits),
            self._slow,
            list(self._times),
        )

    def _score(self, records: Sequence[Row]) -> float | None:
        """The seconds that the model before takes for all of the records; None where it cannot score one of them."""
        before = self._model(self.fallback)
        if before is None:
            return None
        try:
            found = fit(before, records, lenient=True)
            if not found.rows.all():
                return None
            began = time.perf_counter()
            scores = probabilities(before, found.columns)
            seconds = time.perf_counter() - began
        except Exception:  # whatever the model before raises, it does not answer this row either
            return None
        return seconds if bool(((scores >= 0) & (scores <= 1)).all()) else None


def _count(counts: dict[str, int], what: str) -> None:
    """The keys are rules of a schema and types of errors, so they are few."""
    counts[what] = counts.get(what, 0) + 1


def records(model: Model, asked: One | Many, places: Sequence[int]) -> list[dict[str, Any]]:
    """The given rows of a valid request, by feature; null for what is missing."""
    if isinstance(asked, One):
        return [dict(zip(model.schema.names, asked.row, strict=True))]
    columns = [c.tolist() if isinstance(c, np.ndarray) else c for c in asked.columns]
    return [{name: _plain(c[i]) for name, c in zip(model.schema.names, columns, strict=True)} for i in places]


def _plain(value: Any) -> Any:
    return None if value != value else value


def merged(generation: int, found: Sequence[Evidence]) -> Evidence:
    """What all workers saw of a generation. Evidence about another one is left out."""
    own = [one for one in found if one.generation == generation]
    failures: Counter[str] = Counter()
    misfits: Counter[str] = Counter()
    hangs: Counter[str] = Counter()
    crashes: Counter[str] = Counter()
    for one in own:
        failures.update(one.failures)
        misfits.update(one.misfits)
        hangs.update(one.hangs)
        crashes.update(one.crashes)
    return Evidence(
        generation,
        sum(one.requests for one in own),
        dict(failures),
        dict(misfits),
        sum(one.slow_requests for one in own),
        [pair for one in own for pair in one.slow],
        dict(hangs),
        dict(crashes),
    )


def verdict(seen: Evidence, allow: Sequence[str]) -> str:
    """Why a model is unfit; empty where it is not. ``allow`` are the gates that its pin lifts."""
    if seen.failures:
        count = sum(seen.failures.values())
        return (
            f"{_share(count, seen.requests)} got no probability ({max(seen.failures, key=seen.failures.__getitem__)});"
            " the model before scores these rows"
        )
    if seen.hangs:
        return f"a worker was ended: {next(iter(seen.hangs))}"
    if (crashed := sum(seen.crashes.values())) > MOST_CRASHES:
        return f"{crashed} workers crashed ({max(seen.crashes, key=seen.crashes.__getitem__)})"
    if seen.misfits and CONTRACT not in allow:
        count = sum(seen.misfits.values())
        why = max(seen.misfits, key=seen.misfits.__getitem__)
        return f"{_share(count, seen.requests)} were refused ({why}); the model before accepts them"
    if seen.slow_requests >= MANY and 2 * seen.slow_requests >= seen.requests:
        each, before = np.median(seen.slow, axis=0).tolist()
        return (
            f"{_share(seen.slow_requests, seen.requests)} took {each * 1e3:.3g} ms a row,"
            f" {each / max(before, 1e-9):.3g} × as long as the model before"
        )
    return ""


def _share(count: int, requests: int) -> str:
    return f"{count:,} of {max(count, requests):,} requests"
