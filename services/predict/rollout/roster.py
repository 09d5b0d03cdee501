"""Which workers of a replica live, and which of them leads: files that a process locks. The kernel frees them when it dies."""

from __future__ import annotations

import faulthandler
import fcntl
import json
import os
import uuid
from typing import Any

from services.predict.rollout.state_dir import StateDir


class WorkerEntry:
    """A worker's entry in the roster: a file that it keeps locked. Make it after the fork, before a look at the candidate."""

    def __init__(self, store: StateDir, worker: str | None = None) -> None:
        self.id = worker or f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.reports = False
        self.path = store.workers / self.id
        temporary = store.entering / self.id
        self.descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            os.replace(temporary, self.path)  # it appears locked, so it is not taken for a dead worker's
        except OSError:
            os.close(self.descriptor)
            raise

    def say(self, **words: Any) -> None:
        """Write what the leader should know."""
        data = json.dumps(words).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)

    def report_crash(self, wanted: bool) -> None:
        """Let the interpreter write here, in place of all else, how this process crashes; a kill from outside writes nothing."""
        if wanted:
            faulthandler.enable(self.descriptor, all_threads=False)
        elif self.reports:
            faulthandler.disable()
        self.reports = wanted

    def leave(self) -> None:
        """Remove the entry. What is said afterwards is an error, and reaches no other file."""
        self.report_crash(False)
        descriptor, self.descriptor = self.descriptor, -1
        self.path.unlink(missing_ok=True)
        os.close(descriptor)


class LeaderLock:
    """The leader's lock. The worker that holds it leads. The kernel frees it when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, store: StateDir) -> LeaderLock | None:
        """The lock, or None where another worker holds it."""
        descriptor = os.open(store.root / "leader.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        """Free the lock."""
        os.close(self._descriptor)
