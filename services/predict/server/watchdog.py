"""Ends a worker in which a model hangs, and a worker whose master has died. The master, or a new one, starts another.

A hanging call holds a thread, and often a lock, for ever; only the end of the process frees them. A call is measured in time that
this process ran: a process that was stopped, or a machine that slept, has not hung.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any

from services.predict.server.worker_threads import WorkerThreads
from services.predict.serving import model_calls
from services.predict.serving.model_calls import LOADING, Call
from services.predict.settings import Settings
from services.web import json_logging

TICK = 0.25  # seconds
A_ROW = 0.01  # seconds that each row may take in addition
HUNG = 5.0  # seconds that the other requests of a worker have, once a model hangs in it
ORPHANED = 15.0  # seconds that the requests of a worker have, once its master has died
UNREGISTERED = 0.5  # seconds after which no event of a listening socket is on its way


class Watchdog:
    """Watches one gunicorn ``worker`` and its ``background`` threads. Make it after the fork."""

    def __init__(self, worker: Any, background: WorkerThreads, settings: Settings) -> None:
        self.worker = worker
        self.background = background
        self.loading_seconds = settings.prepare_seconds
        self.scoring_seconds = settings.score_seconds
        self._seen: dict[int, tuple[Call, float]] = {}  # by thread: its call, and for how long it has been seen
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(TICK)
            if os.getppid() != self.worker.ppid:
                json_logging.emit("the master is gone", "error", worker=os.getpid())
                self._stop_accepting()
                self._end(ORPHANED)
            if hanging := self.look(time.monotonic()):
                call, reason = hanging
                json_logging.emit("worker ended", "error", model_version=call[1], reason=reason, worker=os.getpid())
                self._tell(call[1], reason)
                self._end(HUNG)

    def look(self, now: float) -> tuple[Call, str] | None:
        """The call that takes too long, if there is one, and why that is too long."""
        passed, self._last = min(now - self._last, 2 * TICK), now
        before, self._seen = self._seen, {}
        for thread, call in list(model_calls.running.items()):
            known, seconds = before.get(thread, (None, 0.0))
            seconds = seconds + passed if known is call else 0.0
            self._seen[thread] = call, seconds
            doing, _, rows = call
            most = self.loading_seconds if doing == LOADING else self.scoring_seconds + rows * A_ROW
            if seconds > most:
                return call, f"{doing} took longer than {most:g} s"
        return None

    def _tell(self, sha256: str, reason: str) -> None:
        """Let the replica know, and wait for this worker's vote no more."""
        for part in (self.background.worker, self.background.share_worker):
            entry = part.entry
            with contextlib.suppress(OSError):
                part.store.hung(sha256, reason, entry.id if entry else str(os.getpid()))
            with contextlib.suppress(OSError):
                part.leave()

    def _stop_accepting(self) -> None:
        """Free the port, so that a new master can start. Only the main thread may change what it polls."""

        def stop() -> None:
            self.worker.alive = False
            self.worker.set_accept_enabled(False)

        def close() -> None:
            for listener in self.worker.sockets:
                listener.close()

        self.worker.method_queue.defer(stop)
        time.sleep(UNREGISTERED)
        self.worker.method_queue.defer(close)

    def _end(self, seconds: float) -> None:
        """Let the worker finish its other requests and end, as when its master asks for that; end it then in any case."""
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
        os._exit(1)
