"""A worker's part in a switch: a thread that prepares what the leader proposes, votes, and releases old models."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable

from services.predict.rollout.state_dir import StateDir, WorkerEntry
from services.predict.rollout.state_machine import Candidate, Keep, Load, Prepare, Vote, follow
from services.predict.serving.loaded_models import Models, NoModel
from services.web import json_logging

TICK = 0.05


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
        keep: frozenset[str] | None = None
        match follow(self.models.loaded(), self.voted, current, candidate):
            case Prepare(candidate):
                self._prepare(candidate, entry)
                return
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
        if keep is not None:
            self.models.release(keep)

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
