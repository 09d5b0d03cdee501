"""The models that one worker holds, and which of them answers."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from modelbundle.model import Model
from services.predict.rollout.state_dir import Store, parse_link
from services.predict.rollout.state_machine import Generation

FORGET_FAILURE = 1.0  # seconds before a current model that could not be loaded is tried again


class NoModel(Exception):
    """There is no model to answer with now; the message says why."""


@dataclass(frozen=True, slots=True)
class Held:
    """A loaded model and the requests that are using it. A deque, because its append and pop need no lock."""

    model: Model
    in_use: deque[None] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Serving:
    """What a request answers with, from beginning to end."""

    link: str
    generation: Generation
    held: Held


class Models:
    """Holds at most the current model, one that is being prepared or ends, and finds the current one per request.

    ``load`` makes a model from a verified file in the store, given its SHA-256.
    """

    def __init__(self, store: Store, load: Callable[[str], Model]) -> None:
        self._store = store
        self._settled = False
        self._link = store.link
        self._load = load
        self._held: dict[str, Held] = {}
        self._serving: Serving | None = None
        self._lock = threading.Lock()
        self._failure: tuple[str, float, str] = ("", 0.0, "")

    def current(self) -> Serving:
        """The model of the generation that the store says is current, read now; raises :class:`NoModel`.

        A worker that lacks it loads it here: it never answers with an older one. Until the model service was asked once
        since the replica started, nothing answers: what was current before may have been rolled back since.
        """
        if not self._settled:
            self._settled = self._store.settled()
            if not self._settled:
                raise NoModel("the replica is starting and has not settled on a model")
        return self.resolve()

    def resolve(self) -> Serving:
        """:meth:`current`, whether or not the model service was asked."""
        try:
            link = os.readlink(self._link)
        except OSError:
            raise NoModel("no model was brought in yet") from None
        serving = self._serving
        if serving is not None and serving.link == link:
            return serving
        return self._turn(link)

    def _turn(self, link: str) -> Serving:
        with self._lock:
            failed, until, reason = self._failure
            if failed == link and time.monotonic() < until:
                raise NoModel(reason)
            generation = parse_link(link)
            try:
                held = self._hold(generation.sha256)
            except Exception as error:
                reason = f"the current model cannot be loaded ({type(error).__name__}: {error})"
                self._failure = (link, time.monotonic() + FORGET_FAILURE, reason)
                raise NoModel(reason) from error
            serving = self._serving
            if serving is None or serving.generation.number <= generation.number or serving.link != link:
                self._serving = serving = Serving(link, generation, held)
            return serving

    def prepare(self, sha256: str) -> None:
        """Load a model beside the current one; raises whatever loading it raises."""
        with self._lock:
            self._hold(sha256)

    def _hold(self, sha256: str) -> Held:
        held = self._held.get(sha256)
        if held is None:
            held = self._held[sha256] = Held(self._load(sha256))
        return held

    def loaded(self) -> frozenset[str]:
        """The SHA-256 of the models in memory."""
        return frozenset(self._held)

    def release(self, keep: frozenset[str]) -> bool:
        """Let go of models other than ``keep`` that no request uses; True when only those are left.

        Called from the follower's thread, so that freeing a large model delays no request.
        """
        with self._lock:
            serving = self._serving
            for sha256 in list(self._held):
                if sha256 in keep or self._held[sha256].in_use:
                    continue
                if serving is not None and serving.held is self._held[sha256]:
                    continue
                del self._held[sha256]
            return set(self._held) <= keep
