"""The models that one worker has loaded, and the one that answers now."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from modelbundle.model import Model
from services.predict.rollout.instant.schedule import Schedule, ScheduleFile
from services.predict.rollout.probation import Evidence, Trial
from services.predict.rollout.protocol import Generation
from services.predict.rollout.state_dir import StateDir, parse_link
from services.predict.serving import model_calls
from services.predict.serving.model_calls import LOADING
from services.web import json_logging
from services.web.timestamps import iso

FORGET_FAILURE = 1.0  # seconds before a current model that could not be loaded is tried again
HOLD = 60.0  # seconds that an answer may hold a model that is not wanted any more


class NoModel(Exception):
    """No model can answer now; the message says why."""


class Requests(deque[None]):
    """An entry for each request that uses a model: the append and pop of a deque need no lock.

    ``overdue`` says that they must end, because another model waits for the memory.
    """

    overdue = False


@dataclass(frozen=True, slots=True)
class Serving:
    """The model that one request uses from beginning to end: ``with serving:`` keeps it loaded.

    ``trial`` watches a model that came in on probation; None for others. A long answer looks at ``requests.overdue``.
    """

    link: str
    generation: Generation
    model: Model
    requests: Requests
    trial: Trial | None = None

    def __enter__(self) -> Serving:
        self.requests.append(None)
        return self

    def __exit__(self, *_: object) -> None:
        self.requests.pop()


class Models:
    """Has the current model, at most one that is being prepared, and older ones until their last request ends.

    ``load`` makes a model from a verified file in the store, given its SHA-256. ``before`` gives the model that
    one on probation is compared with, by default the loaded one of its fallback.
    """

    def __init__(
        self, store: StateDir, load: Callable[[str], Model], before: Callable[[str], Model | None] | None = None
    ) -> None:
        self._store = store
        self._before = before or self.get
        self.answering = (
            False  # whether there was a current model when :meth:`resolve` or :meth:`retire` was called last
        )
        self._settled = False
        self._schedule: Schedule | None = None
        self._schedule_file = ScheduleFile(store)
        self._link = store.link
        self._load = load
        self._loaded: dict[str, tuple[Model, Requests]] = {}
        self._unwanted: dict[str, float] = {}  # since when, monotonic
        self._serving: Serving | None = None
        self._lock = threading.Lock()
        self._failure: tuple[str, float, str] = ("", 0.0, "")

    def current(self, settled: bool = True) -> Serving:
        """The model of the generation that the store says is current, read now; raises :class:`NoModel`.

        A worker that has not loaded this model loads it here: it never answers with an older one. With ``settled``, nothing
        answers before the replica has asked the model service once (the last current model may have been rolled back), nor after
        the instant at which another model was due.
        """
        if settled and not self._settled:
            self._settled = self._store.settled()
            if not self._settled:
                raise NoModel("the replica is starting and has not settled on a model")
        try:
            link = os.readlink(self._link)
        except OSError:
            raise NoModel("no model was brought in yet") from None
        serving = self._serving
        if serving is None or serving.link != link:
            serving = self._turn(link)
        if settled and self._schedule is not None:
            self._meet(self._schedule, serving)
        return serving

    def look_ahead(self) -> None:
        """Read which model is due, and when. Raises :class:`OSError`."""
        self._schedule = self._schedule_file.read()

    @staticmethod
    def _meet(schedule: Schedule, serving: Serving) -> None:
        """Raise :class:`NoModel` where the instant of another model has passed: this replica is late, and must not be stale."""
        if schedule.overdue(serving.generation, time.time()):
            due = iso(schedule.instant, "milliseconds")
            raise NoModel(f"the model {schedule.sha256[:12]} was due at {due} and is not ready here yet")

    def resolve(self) -> Serving:
        """:meth:`current`, whether or not the replica has asked the model service."""
        serving = self.current(settled=False)
        self.answering = True
        return serving

    def retire(self) -> None:
        """There is no current model: let the last one go."""
        if self._serving is not None or self.answering:
            with self._lock:
                self._serving, self.answering = None, False

    def _turn(self, link: str) -> Serving:
        with contextlib.suppress(OSError):  # a worker that is new must not answer before its thread has looked
            self.look_ahead()
        with self._lock:
            failed, until, reason = self._failure
            if failed == link and time.monotonic() < until:
                raise NoModel(reason)
            generation = parse_link(link)
            if not generation.sha256:
                self._serving = None
                raise NoModel("the current generation has no model")
            if (
                generation.sha256 not in self._loaded
            ):  # at most two models are alive: what was prepared for another switch goes
                self._drop(frozenset({generation.sha256}))
            try:
                model, requests = self._get(generation.sha256)
            except Exception as error:
                reason = f"the current model cannot be loaded ({type(error).__name__}: {error})"
                self._failure = (link, time.monotonic() + FORGET_FAILURE, reason)
                raise NoModel(reason) from error
            serving = self._serving
            if serving is None or serving.generation.number <= generation.number or serving.link != link:
                probation = self._store.probation(generation)
                trial = Trial(generation.number, probation.fallback, self._before) if probation else None
                self._serving = serving = Serving(link, generation, model, requests, trial)
            return serving

    def prepare(self, sha256: str) -> None:
        """Load another model in addition to the current one; raises the errors of loading."""
        with self._lock:
            self._get(sha256)

    def _get(self, sha256: str) -> tuple[Model, Requests]:
        if sha256 not in self._loaded:
            with model_calls.call(LOADING, sha256):
                self._loaded[sha256] = self._load(sha256), Requests()
        return self._loaded[sha256]

    def get(self, sha256: str) -> Model | None:
        """A model by its SHA-256, if it is loaded."""
        found = self._loaded.get(sha256)
        return found[0] if found else None

    def seen(self) -> Evidence | None:
        """What this worker saw of the current model while it is on probation."""
        serving = self._serving
        return serving.trial.evidence() if serving is not None and serving.trial is not None else None

    def end_trial(self) -> None:
        """The current model is on probation no more."""
        with self._lock:
            if self._serving is not None and self._serving.trial is not None:
                self._serving = replace(self._serving, trial=None)

    def distrust(self) -> None:
        """Let go of models whose tables somebody has changed on the disk. The next request loads the model anew, verified."""
        for sha256, (model, _) in list(self._loaded.items()):
            if not model.intact():
                json_logging.emit("tables changed on the disk", "error", model_version=sha256)
                with self._lock:
                    self._loaded.pop(sha256, None)
                    if self._serving is not None and self._serving.model is model:
                        self._serving = None

    def loaded(self) -> frozenset[str]:
        """The SHA-256 of the models in memory."""
        return frozenset(self._loaded)

    def release(self, keep: frozenset[str]) -> bool:
        """Drop the models other than ``keep`` that no request uses; True when only those are left.

        A request that still uses another one after :data:`HOLD` seconds is overdue.
        The follower's thread calls this, so that freeing a large model delays no request.
        """
        with self._lock:
            self._drop(keep)
            left, now = set(self._loaded) - keep, time.monotonic()
            self._unwanted = {sha256: self._unwanted.get(sha256, now) for sha256 in left}
            for sha256, (_, requests) in self._loaded.items():
                requests.overdue = now - self._unwanted.get(sha256, now) > HOLD
            return not left

    def _drop(self, keep: frozenset[str]) -> None:
        serving = self._serving
        for sha256, (model, requests) in list(self._loaded.items()):
            if not (sha256 in keep or requests or (serving is not None and serving.model is model)):
                del self._loaded[sha256]
