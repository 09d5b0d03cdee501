"""The monitor: a process beside the workers. ``python -m services.monitoring.process``.

Each replica has one, which writes down the replica's counters. One of all replicas that share ``DATA_DIR`` also reads the
prediction log and replaces ``monitor.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbundle.durable import write
from services import jsonlog
from services.keeper import Keeper, take
from services.monitoring import summary
from services.monitoring.counters import Sampler, together

FILE = "monitor.json"
FOLDER = "monitoring"
LOCK = "lock"
BUDGET = 0.25  # of its time may be spent reading a log that is larger than what was read so far


def keeper(data: Path, state: Path, url: str, every: float, days: int) -> Keeper:
    """What a worker keeps its replica's monitor alive with."""
    environment = {
        "DATA_DIR": str(data),
        "STATE_DIR": str(state),
        "PREDICTION_LOG_URL": url,
        "MONITOR_SECONDS": str(every),
        "MONITOR_DAYS": str(days),
    }
    return Keeper(own_lock(data, os.environ), "services.monitoring.process", environment=environment)


def own_lock(data: Path, environment: Mapping[str, str]) -> Path:
    """The lock of a replica's monitor: beside its counters, which no other replica has."""
    return Path(environment.get("PROMETHEUS_MULTIPROC_DIR") or data / FOLDER) / "monitor.lock"


def empty(every: float, days: int) -> dict[str, Any]:
    """The content of ``monitor.json`` before the first round."""
    http = together(Path(os.devnull), 0.0)
    return {**summary.empty(days, 0.0, computed=False), "every_seconds": every, "http": http}


class Process:
    """Does a round at a time. Made once the replica's lock is held."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        from services.monitoring.monitor import Monitor
        from services.monitoring.reading import Log
        from services.monitoring.versions import Versions

        self.data = Path(environment["DATA_DIR"])
        self.every = float(environment["MONITOR_SECONDS"])
        self.folder = self.data / FOLDER
        versions = Versions([Path(environment["STATE_DIR"]) / "bundles"])
        self.monitor = Monitor(Log(environment["PREDICTION_LOG_URL"]), versions, int(environment["MONITOR_DAYS"]))
        counters = environment.get("PROMETHEUS_MULTIPROC_DIR")
        replica = f"{socket.gethostname()}-{environment.get('PORT') or 5000}"
        self.sampler = Sampler(self.folder, replica, Path(counters)) if counters else None
        self.first: int | None = None
        self.trouble: str | None = None

    def round(self, now: float) -> None:
        """Sample the counters; and write ``monitor.json``, if that is ours to do."""
        try:
            if self.sampler:
                self.sampler.sample(now - self.every / 2)  # what came since the last round came before now
            self.first = self.first if self.first is not None else take(self.folder / LOCK)
            if self.first is not None:
                write(self.data / FILE, json.dumps(self._content(now)).encode())
        except OSError as error:
            self._say(str(error))

    def _content(self, now: float) -> dict[str, Any]:
        from sqlalchemy.exc import SQLAlchemyError

        content: dict[str, Any]
        try:
            content = self.monitor.summary(now, self.every * BUDGET)
            self._say(None)
        except SQLAlchemyError as error:
            kind = type(getattr(error, "orig", None) or error).__name__  # never its text: it holds rows
            self._say(f"the prediction log's database is away ({kind})")
            content = self.monitor.last(now)
        return {**content, "trouble": self.trouble, "every_seconds": self.every, "http": together(self.folder, now)}

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            jsonlog.emit("monitor", "error" if trouble else "info", trouble=trouble)
        self.trouble = trouble


def main(environment: Mapping[str, str]) -> int:
    """Compute until the worker that started this is gone, at every multiple of MONITOR_SECONDS of the clock."""
    if take(own_lock(Path(environment["DATA_DIR"]), environment)) is None:
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops the service ends the workers first
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(10)  # predictions come first, and the log
    process = Process(environment)
    process.round(time.time())
    while not select.select([0], [], [], process.every - time.time() % process.every)[0]:
        process.round(time.time())
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
