"""A worker's part in a switch: a thread that prepares what the leader proposes, votes, and releases old models."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable

import msgspec

from services.predict.rollout.probation import Evidence
from services.predict.rollout.protocol import Candidate, Vote
from services.predict.rollout.state_dir import StateDir, WorkerEntry
from services.predict.rollout.state_machine import Hold, Keep, Load, Prepare, follow
from services.predict.serving.loaded_models import Models, NoModel
from services.web import json_logging

TICK = 0.05
TELL = 0.2  # seconds between reports of what was seen of a model on probation


class Worker:
    """Performs what :func:`services.predict.rollout.state_machine.follow` says, for one process.

    Where the disk has no room for an entry in the roster, the worker answers all the same and tries again. A worker without a
    vote loads the current model before it answers, as every worker does.
    """

    def __init__(self, store: StateDir, models: Models, prepare_seconds: float) -> None:
        self.store = store
        self.models = models
        self.prepare_seconds = prepare_seconds
        self.entry: WorkerEntry | None = None
        with contextlib.suppress(OSError):
            self.entry = WorkerEntry(store)
        self.voted: str | None = None
        self._published: Evidence | None = None
        self._told = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and leave the roster."""
        self._stop.set()
        self._thread.join(5)
        if self.entry is not None:
            self.entry.leave()

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            try:
                self.step()
            except Exception as error:  # this thread must outlive anything; the next tick tries again
                json_logging.emit("worker failed", "error", error=f"{type(error).__name__}: {error}")
                self._stop.wait(1)

    def step(self) -> None:
        """Look at ``STATE_DIR`` once and act on it. Raises :class:`OSError` where there is no room for an entry in the roster."""
        entry = self.entry = self.entry or WorkerEntry(self.store)
        candidate = self.store.candidate()
        current = self.store.current()
        probation = self.store.probation(current)
        wanted = probation.fallback if probation else None
        keep: frozenset[str] | None = None
        held: str | None = None
        match follow(self.models.loaded(), self.voted, current, candidate, wanted):
            case Prepare(candidate):
                self._prepare(candidate, entry)
                return
            case Hold(fallback):
                keep, held = frozenset({fallback, current.sha256}), fallback
            case Keep(sha256):
                keep = sha256
            case Load():
                pass
        if current.number:
            try:
                self.models.resolve()
            except NoModel as error:
                json_logging.emit("no model", "error", reason=str(error))
                self._stop.wait(1)
                return
        if keep is None:
            return
        released = self.models.release(keep)
        if held and released and held not in self.models.loaded():
            self._hold(held)
        if probation is None:
            self.models.end_trial()
        elif time.monotonic() - self._told >= TELL:
            self._told = time.monotonic()
            self._publish(entry)

    def _hold(self, fallback: str) -> None:
        """Load the model to return to, once another model has left."""
        try:
            self.models.prepare(fallback)
        except Exception as error:  # without it nothing is attributed to the new model, and a return loads it then
            json_logging.emit("no model to return to", "warning", reason=f"{type(error).__name__}: {error}")
            self._stop.wait(1)

    def _publish(self, entry: WorkerEntry) -> None:
        """Tell the leader what was seen of the model on probation, when there is news."""
        seen = self.models.seen()
        if seen is not None and seen != self._published:
            with contextlib.suppress(OSError):  # the next tick tries again
                self.store.write_evidence(entry.id, msgspec.json.encode(seen))
                self._published = seen

    def _prepare(self, candidate: Candidate, entry: WorkerEntry) -> None:
        """Load the candidate when it is this worker's turn, and vote."""
        keep = frozenset({candidate.sha256, self.store.current().sha256})
        deadline = time.monotonic() + self.prepare_seconds
        while not self.models.release(keep):  # at most two models are alive: wait for the last request of an older one
            if time.monotonic() > deadline or self._stop.wait(TICK):
                return
        vote, reason = Vote.READY, ""
        turn = os.open(self.store.root / "turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self.models.prepare(candidate.sha256)
        except Exception as error:  # whatever the model raises is a veto
            vote, reason = Vote.VETO, f"{type(error).__name__}: {error}"
        finally:
            os.close(turn)
        self.voted = candidate.attempt
        entry.say(attempt=candidate.attempt, vote=vote.value, reason=reason)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition`` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
