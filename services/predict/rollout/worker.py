"""A worker's part in a switch: a thread that prepares what the leader proposes, votes, and releases old models."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable

import msgspec

from services.predict.rollout.probation import Evidence
from services.predict.rollout.protocol import Candidate, Vote
from services.predict.rollout.roster import WorkerEntry
from services.predict.rollout.rules.follow import Hold, Keep, Load, Prepare, follow
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.loaded_models import Models, NoModel
from services.web import json_logging

TICK = 0.05
SOON = 0.01  # seconds between looks at whether the candidate can be loaded
MOST_DEATHS = 3  # of workers that load the candidate, before it is refused: one may be a chance
LACKS = frozenset(  # errors of the machine, not of the model
    {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EAGAIN}
)
TELL = 0.2  # seconds between reports of what was seen of a model on probation


class Worker:
    """Performs what :func:`services.predict.rollout.rules.follow.follow` says, for one process.

    Where the disk has no room for an entry in the roster, the worker answers all the same and tries again. A worker without a
    vote loads the current model before it answers, as every worker does. With ``reports``, the entry says how the process
    crashed.
    """

    def __init__(self, store: StateDir, models: Models, reports: bool = False) -> None:
        self.store = store
        self.models = models
        self.reports = reports
        self.entry: WorkerEntry | None = None
        with contextlib.suppress(OSError):
            self.entry = WorkerEntry(store)
        self.voted: str | None = None
        self._published: Evidence | None = None
        self._told = 0.0
        self._turn: int | None = None  # the lock, while this worker loads
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and leave the roster."""
        self._stop.set()
        self._thread.join(5)
        self.leave()

    def leave(self) -> None:
        """Leave the roster, and let another worker load; without waiting for the thread, which may hang."""
        self._stop.set()
        if (turn := self._turn) is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(turn, fcntl.LOCK_UN)
        entry, self.entry = self.entry, None
        if entry is not None:
            entry.leave()

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            try:
                self.step()
            except Exception as error:  # this thread must outlive anything; the next tick tries again
                json_logging.emit("worker failed", "error", error=f"{type(error).__name__}: {error}")
                self._stop.wait(1)

    def step(self) -> None:
        """Look at ``STATE_DIR`` once and act on it. Raises :class:`OSError` where there is no room for an entry in the roster."""
        if self.entry is None:
            self.entry = WorkerEntry(self.store)
        entry = self.entry
        if self.reports and not entry.reports:
            entry.report_crash(True)
        self.models.look_ahead()
        self.models.distrust()
        candidate = self.store.candidate()
        current = self.store.current()
        probation = self.store.probation(current)
        wanted = probation.fallback or None if probation else None  # the champion is in a slot of its own
        keep: frozenset[str] | None = None
        held: str | None = None
        match follow(self.models.loaded(), self.voted, current, candidate, wanted):
            case Prepare(candidate):
                self._publish(entry)
                self._prepare(candidate, entry)
                return
            case Hold(fallback):
                keep, held = frozenset({fallback, current.sha256}), fallback
            case Keep(sha256):
                keep = sha256
            case Load():
                pass
        if current.sha256:
            try:
                self.models.resolve()
            except NoModel as error:
                json_logging.emit("no model", "error", reason=str(error))
                self._stop.wait(1)
                return
        else:
            self.models.retire()
        if keep is None:
            return
        released = self.models.release(keep)
        if held and released and held not in self.models.loaded():
            self._hold(held)
        if probation is None:
            self.models.end_trial()
        else:
            self._publish(entry)

    def _hold(self, fallback: str) -> None:
        """Load the model to return to, once another model has left."""
        try:
            self.models.prepare(fallback)
        except Exception as error:  # without it nothing is attributed to the new model, and a return loads it then
            json_logging.emit("no model to return to", "warning", reason=f"{type(error).__name__}: {error}")
            self._stop.wait(1)

    def _publish(self, entry: WorkerEntry) -> None:
        """Tell the leader what was seen of the model on probation, when there is news, but not with every tick."""
        if time.monotonic() - self._told < TELL:
            return
        self._told = time.monotonic()
        seen = self.models.seen()
        if seen is not None and seen != self._published:
            with contextlib.suppress(OSError):  # the next tick tries again
                self.store.write_evidence(entry.id, msgspec.json.encode(seen))
                self._published = seen

    def _prepare(self, candidate: Candidate, entry: WorkerEntry) -> None:
        """Load the candidate when it is this worker's turn, and vote. Until then, say what it waits for, and return soon.

        Raises :class:`OSError` where the disk does: without a vote, the next tick tries again.
        """
        deadline = time.monotonic() + TELL
        turn = os.open(self.store.root / "turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while waits := self._waits(candidate, turn):
                if time.monotonic() > deadline:
                    entry.say(attempt=candidate.attempt, vote=None, reason=f"a worker waits: {waits}")
                    return
                if self._stop.wait(SOON) or self.store.candidate() != candidate:
                    return
            entry.say(attempt=candidate.attempt, vote=None, reason="a worker loads it")
            entry.report_crash(False)  # of a model that does not answer yet: the next worker counts that
            self._turn = turn
            try:
                vote, reason = self._load(candidate)
            except OSError as error:
                entry.say(attempt=candidate.attempt, vote=None, reason=f"a worker waits: {error}")
                raise
        finally:
            self._turn = None
            if self.entry is entry:
                entry.report_crash(self.reports)
            os.close(turn)
        entry.say(attempt=candidate.attempt, vote=vote.value, reason=reason)
        self.voted = candidate.attempt  # only now: where there was no room for the vote, it is given again

    def _waits(self, candidate: Candidate, turn: int) -> str:
        """Why this worker cannot load the candidate now; empty once it can, with the lock held."""
        if not self.models.release(frozenset({candidate.sha256, self.store.current().sha256})):
            return "an answer still uses an older model"  # and at most two models are alive
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "another one is loading it"
        return ""

    def _load(self, candidate: Candidate) -> tuple[Vote, str]:
        """Load the candidate; the vote and its reason. A model in which workers hang or die is not loaded again."""
        begun, hung = self.store.begin_preparing(candidate)
        try:
            if hung:
                return Vote.VETO, hung
            if begun > MOST_DEATHS:
                return Vote.VETO, f"{MOST_DEATHS} workers died while they loaded it"
            self.models.prepare(candidate.sha256)
        except BaseException as error:  # whatever the model raises is a veto; what the machine lacks is not
            if isinstance(error, OSError) and error.errno in LACKS:
                raise
            return Vote.VETO, f"{type(error).__name__}: {error}"
        finally:
            self.store.end_preparing(candidate)
        return Vote.READY, ""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition`` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
