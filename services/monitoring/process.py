"""The monitor: a companion process of the workers. ``python -m services.monitoring.process``.

Each replica has a monitor, which writes down the replica's counters. One monitor among all replicas that share ``DATA_DIR`` also
reads the prediction log and replaces ``monitor.json``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelbundle.durable import write
from services import private
from services.monitoring import summary
from services.monitoring.log_reader.request_counts import RequestCounts, merged
from services.monitoring.summary import FILE
from services.supervisor import be, fork, take
from services.web import json_logging

FOLDER = "monitoring"
LOCK = "lock"
LONGEST = 60.0  # seconds, at least, before a round is given up
BUDGET = 0.25  # share of a round's time for reading the log


def own_lock(data: Path, environment: Mapping[str, str]) -> Path:
    """The lock of a replica's monitor, in the directory of the replica's own counters."""
    return Path(environment.get("PROMETHEUS_MULTIPROC_DIR") or data / FOLDER) / "monitor.lock"


def empty(every: float, days: int) -> dict[str, Any]:
    """The content of ``monitor.json`` before the first round."""
    http = merged(Path(os.devnull), 0.0)
    return {**summary.empty(days, 0.0, computed=False), "every_seconds": every, "http": http}


class Process:
    """Runs one round after another, each in a fork of this process, whose memory is freed when it ends.

    The state between two rounds is kept here as bytes. Create it once the replica's lock is held.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        importlib.import_module("services.monitoring.monitor")  # for all the copies at once
        self.environment = environment
        self.data = Path(environment["DATA_DIR"])
        self.every = float(environment["MONITOR_SECONDS"])
        self.folder = self.data / FOLDER
        counters = environment.get("PROMETHEUS_MULTIPROC_DIR")
        replica = f"{socket.gethostname()}-{environment.get('PORT') or 5000}"
        self.sampler = RequestCounts(self.folder, replica, Path(counters)) if counters else None
        self.first: int | None = None
        self.kept = b""
        self.trouble: str | None = None

    def round(self, now: float) -> None:
        """Sample the counters, and write ``monitor.json`` where this monitor holds the lock for it."""
        try:
            if self.sampler:
                self.sampler.sample(now - self.every / 2)  # what came since the last round came before now
            self.first = self.first if self.first is not None else take(self.folder / LOCK)
        except OSError as error:
            self._say(str(error))
            return
        if self.first is not None:
            found = apart(lambda: self.compute(now), max(LONGEST, 5 * self.every))
            if found is None:
                self._say("a round of the monitor failed, or took too long")
            else:
                self.kept, trouble = pickle.loads(found)
                self._say(trouble)

    def compute(self, now: float) -> bytes:
        """Write ``monitor.json``; returns the state for the next round, and the trouble of this one."""
        from sqlalchemy.exc import SQLAlchemyError

        from services.monitoring.log_reader.model_versions import ModelVersions
        from services.monitoring.log_reader.queries import PredictionLog
        from services.monitoring.monitor import Monitor

        state = Path(self.environment["STATE_DIR"])
        versions = ModelVersions([state / "bundles", state / "share" / "bundles"])
        days = int(self.environment["MONITOR_DAYS"])
        monitor = Monitor(PredictionLog(self.environment["PREDICTION_LOG_URL"]), versions, days)
        if self.kept:
            monitor.resume(self.kept)
        content: dict[str, Any]
        trouble = None
        try:
            content = monitor.summary(now, self.every * BUDGET)
        except SQLAlchemyError as error:
            kind = type(getattr(error, "orig", None) or error).__name__  # never its text: it holds rows
            trouble = f"the prediction log's database is away ({kind})"
            content = self._written() or summary.empty(days, now)
        more = {"trouble": trouble, "every_seconds": self.every, "http": merged(self.folder, now)}
        try:
            write(self.data / FILE, json.dumps({**content, **more}).encode(), private.FILE)
        except OSError as error:
            trouble = str(error)
        return pickle.dumps((monitor.state(), trouble))

    def _written(self) -> dict[str, Any] | None:
        """The content that the last round wrote."""
        try:
            found: dict[str, Any] = json.loads((self.data / FILE).read_bytes())
        except (OSError, ValueError):
            return None
        return found

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            json_logging.emit("monitor", "error" if trouble else "info", trouble=trouble)
        self.trouble = trouble


def apart(work: Callable[[], bytes], seconds: float) -> bytes | None:
    """The result of ``work``, run in a fork of this process; raises :class:`RuntimeError` where this one has other threads.

    None where the work failed, or took longer than ``seconds``. If this process dies meanwhile, the fork still finishes.
    """
    read, write = os.pipe()
    child = fork()
    if not child:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)  # the signal's default is death, whatever is at work then
            with os.fdopen(write, "wb") as out:
                out.write(work())
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as result:
        found = result.read()
    _, status = os.waitpid(child, 0)
    return found if status == 0 else None


def main(_: Sequence[str] = ()) -> int:
    """Run a round at every multiple of MONITOR_SECONDS of the clock, until the worker that started this process is gone."""
    if be("monitor", own_lock(Path(os.environ["DATA_DIR"]), os.environ)) is None:
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops the service ends the workers first
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(10)  # predictions come first, and the log
    process = Process(os.environ)
    process.round(time.time())
    while not select.select([0], [], [], process.every - time.time() % process.every)[0]:
        process.round(time.time())
    return 0


if __name__ == "__main__":
    json_logging.log_uncaught()
    sys.exit(main())
