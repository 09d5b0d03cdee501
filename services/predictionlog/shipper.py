"""The shipper: a process that empties the spool into the database. ``python -m services.predictionlog.shipper SPOOL URL``.

One shipper works at a time; the workers keep it alive: see :mod:`services.supervisor`. It ends after one last round when the pipe
to the worker that started it closes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import Counter

from services.predictionlog import event, record, spool
from services.predictionlog.challenger_queue import Queue
from services.supervisor import be, free
from services.web import json_logging

LOCK = "shipper.lock"
EVERY = 0.5  # seconds between rounds
BATCH = 5000  # rows in a transaction
MOST_BACK_OFF = 10.0
REST = 4  # the pause after a transaction, as a multiple of the time that it took with reading its rows
LATE = 5.0  # seconds after which rows wait for no rest
DAMAGED = ".damaged"
# Counted into the files of PROMETHEUS_MULTIPROC_DIR, from which the workers' /metrics reads: it needs no registry here.
shipped = Counter("peerloan_log_shipped_rows", "Rows that the database took, repeats included", registry=None)


def drain(root: Path, url: str, seconds: float) -> None:
    """Wait, for at most ``seconds``, until the segments of ended writers are shipped; start a last round where no shipper runs.

    This is for the last process of a container, whose end stops all others. Rows that the database refuses stay in the spool.
    """
    deadline = time.monotonic() + seconds
    ours: subprocess.Popen[bytes] | None = None
    while spool.abandoned(root) and time.monotonic() < deadline:
        ended = ours.poll() if ours else 0
        if ended:
            return  # the database is away
        if ended == 0 and free(root / LOCK):  # again where somebody else shipped, who began before all of it was there
            command = [sys.executable, "-m", "services.predictionlog.shipper", str(root)]
            environment = {**os.environ, "PREDICTION_LOG_URL": url}
            ours = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, process_group=0)
        time.sleep(0.02)


class Segment:
    """A closed segment, read a line at a time. ``events`` and ``damaged`` (lines) are complete once all rows are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self.damaged = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """The predictions, as the columns of the database."""
        for line in spool.lines(self.path):
            try:
                if event.is_one(line):
                    self.events.append(event.decode(line))
                else:
                    yield from record.decode(line).rows()
            except (msgspec.MsgspecError, ValueError, OverflowError):
                self.damaged += 1


class Shipper:
    """Moves closed segments into the database, and then to the challenger's queue where that is open.

    ``rest`` waits for at most some seconds. In a burst, requests are answered first; rows are logged when there is time, or when
    they have waited for :data:`LATE`.
    """

    def __init__(self, root: Path, url: str, rest: Callable[[float], object] = lambda _: None) -> None:
        from services.predictionlog import database

        self.root = root
        self.url = url
        self.rest = rest
        self.took = 0.0  # seconds, the last transaction of this round, with reading its rows
        self.queue = Queue.of_spool(root)
        self.database = database
        self.engine = database.connect(url)
        self.migrated = False
        self.trouble = ""

    def round(self) -> bool:
        """Ship the closed segments. False where the database does not take them; they stay in the spool."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            spool.adopt(self.root)
            if not self.migrated and not self._migrate():
                return False
            self.took = 0.0
            for path in spool.segments(self.root):
                self._ship(path)
        except SQLAlchemyError as error:
            return self._away(type(getattr(error, "orig", None) or error).__name__)  # never its text: it holds rows
        except OSError as error:
            return self._away(str(error))
        if self.trouble:
            json_logging.emit("prediction log is back", "info")
            self.trouble = ""
        return True

    def _migrate(self) -> bool:
        """Migrate the tables in a process of its own, whose end frees the memory that Alembic takes."""
        if (self.database.revision(self.engine) or "") < self.database.HEAD:
            command = [sys.executable, "-m", "services.predictionlog", "migrate"]
            environment = {**os.environ, "PREDICTION_LOG_URL": self.url}
            done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                return self._away(done.stderr.strip().rpartition("\n")[2])
        self.migrated = True
        return True

    def _away(self, reason: str) -> bool:
        if reason != self.trouble:
            json_logging.emit("prediction log away", "error", reason=reason)
        self.trouble = reason
        return False

    def _ship(self, path: Path) -> None:
        segment, written = Segment(path), path.stat().st_mtime
        rows, count = segment.rows(), 0
        began = time.monotonic()
        while some := list(islice(rows, BATCH)):
            read = time.monotonic() - began
            if time.time() - written < LATE:
                self.rest(REST * self.took)
            began = time.monotonic()
            segment.damaged += self._insert(some)
            count += len(some)
            self.took = read + time.monotonic() - began
            began = time.monotonic()
        self.database.insert_events(self.engine, segment.events)
        if segment.damaged:  # kept for a person to look at; it must not stop the others
            json_logging.emit("segment damaged", "error", file=path.name, lines=segment.damaged)
            path.rename(path.with_suffix(DAMAGED))
        elif not count or not self.queue.offer(path, count):
            path.unlink()

    def _insert(self, rows: list[dict[str, Any]]) -> int:
        """Insert the rows; returns how many of them the database refuses for their values. The others are inserted."""
        from sqlalchemy.exc import DataError

        try:
            self.database.insert(self.engine, rows)
        except DataError:
            half = len(rows) // 2
            return self._insert(rows[:half]) + self._insert(rows[half:]) if half else 1
        shipped.inc(len(rows))
        return 0


def main(arguments: Sequence[str]) -> int:
    """Ship a spool until the parent is gone; returns 1 where the database does not take the last rows."""
    root = Path(arguments[0])
    if be("shipper", root / LOCK) is None:
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops the service ends the workers first
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(5)  # predictions come first
    shipper = Shipper(root, os.environ["PREDICTION_LOG_URL"], lambda seconds: select.select([0], [], [], seconds))
    pause = EVERY
    while not select.select([0], [], [], pause)[0]:
        pause = EVERY if shipper.round() else min(pause * 2, MOST_BACK_OFF)
    return 0 if shipper.round() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
