"""The shipper: a process that empties the spool into the database. ``python -m services.predictionlog.shipper SPOOL URL``.

Exactly one ships at a time: it holds a lock that the kernel frees when it dies. Every worker keeps a :class:`Keeper`, which
starts one where there is none. It ends when the pipe to the worker that started it does, after one last round.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from services import jsonlog
from services.predictionlog import entry, event, spool

LOCK = "shipper.lock"
EVERY = 0.5  # seconds between rounds
BATCH = 2000  # rows in a transaction
MOST_BACK_OFF = 10.0


class Keeper:
    """Keeps a shipper alive from a thread of a worker."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self.child: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let our shipper, if there is one, make its last round."""
        self._stop.set()
        self._thread.join(5)
        if self.child is not None and self.child.stdin is not None:
            self.child.stdin.close()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            with contextlib.suppress(OSError):
                if (self.child is None or self.child.poll() is not None) and _free(self.root):
                    self.child = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # The address may hold a password: the environment is not for everybody to read, a command line is.
        environment = {**os.environ, "PREDICTION_LOG_URL": self.url}
        command = [sys.executable, "-m", "services.predictionlog.shipper", str(self.root)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)


def _free(root: Path) -> bool:
    descriptor = _lock(root)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def _lock(root: Path) -> int | None:
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class Shipper:
    """Moves closed segments into the database."""

    def __init__(self, root: Path, url: str) -> None:
        from services.predictionlog import database

        self.root = root
        self.database = database
        self.engine = database.connect(url)
        self.migrated = False
        self.trouble = ""

    def round(self) -> bool:
        """Ship what is there; False where the database would not take it, and nothing is lost."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            spool.adopt(self.root)
            if not self.migrated:
                self.database.migrate(self.engine)
                self.migrated = True
            for path in spool.segments(self.root):
                self._ship(path)
        except SQLAlchemyError as error:
            return self._away(type(getattr(error, "orig", None) or error).__name__)  # never its text: it holds rows
        except OSError as error:
            return self._away(str(error))
        if self.trouble:
            jsonlog.emit("prediction log is back", "info")
            self.trouble = ""
        return True

    def _away(self, reason: str) -> bool:
        if reason != self.trouble:
            jsonlog.emit("prediction log away", "error", reason=reason)
        self.trouble = reason
        return False

    def _ship(self, path: Path) -> None:
        rows: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        damaged = 0
        for line in spool.lines(path):
            try:
                if event.is_one(line):
                    events.append(event.decode(line))
                else:
                    rows.append(entry.decode(line))
            except (msgspec.MsgspecError, ValueError, OverflowError):
                damaged += 1
        for start in range(0, len(rows), BATCH):
            self.database.insert(self.engine, rows[start : start + BATCH])
        self.database.insert_events(self.engine, events)
        if damaged:  # kept for a person to look at; it must not stop the others
            jsonlog.emit("segment damaged", "error", file=path.name, lines=damaged)
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink()


def main(root: Path) -> int:
    """Ship until the parent is gone."""
    if _lock(root) is None:
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops the service ends the workers first
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(5)  # predictions come first
    shipper = Shipper(root, os.environ["PREDICTION_LOG_URL"])
    pause = EVERY
    while not select.select([0], [], [], pause)[0]:
        pause = EVERY if shipper.round() else min(pause * 2, MOST_BACK_OFF)
    shipper.round()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
