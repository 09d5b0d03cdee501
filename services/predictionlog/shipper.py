"""The shipper: a process that empties the spool into the database. ``python -m services.predictionlog.shipper SPOOL URL``.

One shipper works at a time; the workers keep it alive: see :mod:`services.supervisor`. It ends after one last round when the pipe
to the worker that started it closes.
"""

from __future__ import annotations

import contextlib
import math
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

from prometheus_client import Counter

from modelbundle.durable import Disk
from services.predictionlog import event, record, spool
from services.predictionlog.challenger_queue import Queue
from services.supervisor import be, free
from services.web import json_logging, process_metrics

LOCK = "shipper.lock"
EVERY = 0.5  # seconds between rounds
BATCH = 5000  # rows in a transaction
MOST_BACK_OFF = 5.0
REST = 4  # the pause after a transaction, as a multiple of the time that it took with reading its rows
LATE = 5.0  # seconds after which rows wait for no rest
LOOK = 30.0  # seconds after which the tables are looked at again: somebody may have brought back an older copy
DAMAGED = ".damaged"  # a file with the lines of a segment that were set aside
Insert = Callable[[Any, list[dict[str, Any]]], None]
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
    """A closed segment, read a line at a time. ``events`` and ``unreadable`` (numbers of lines) are complete once all rows are
    read. ``refused`` are the ids of the rows that the database refuses for their values.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self.unreadable: set[int] = set()
        self.refused: set[str] = set()

    def rows(self) -> Iterator[dict[str, Any]]:
        """The predictions, as the columns of the database."""
        for number, raw in enumerate(spool.raw_lines(self.path)):
            try:
                line = spool.content(raw)
                if event.is_one(line):
                    self.events.append(event.decode(line))
                else:
                    yield from record.decode(line).rows()
            except MemoryError:
                raise
            except Exception:  # whatever it is: this line is set aside, and keeps no other out
                self.unreadable.add(number)

    def poison(self) -> Iterator[bytes]:
        """The lines that cannot be read or of which the database refuses a row, as they are there."""
        for number, raw in enumerate(spool.raw_lines(self.path)):
            if number in self.unreadable or (self.refused and not self.refused.isdisjoint(_ids(spool.content(raw)))):
                yield raw


def _ids(line: bytes) -> set[str]:
    if event.is_one(line):
        return {event.decode(line)["event_id"]}
    return set(record.decode(line).ids())


class Shipper:
    """Moves closed segments into the database, and then to the challenger's queue where that is open.

    ``rest`` waits for at most some seconds. In a burst, requests are answered first; rows are logged when there is time, or when
    they have waited for :data:`LATE`.
    """

    def __init__(self, root: Path, url: str, rest: Callable[[float], object] = lambda _: None) -> None:
        from services.predictionlog import database
        from services.predictionlog.chain.writer import Chain

        self.root = root
        self.url = url
        self.rest = rest
        self.took = 0.0  # seconds, the last transaction of this round, with reading its rows
        self.queue = Queue.of_spool(root)
        self.database = database
        self.chain = Chain(root)
        self.engine = database.connect(url)
        self.migrated = -math.inf  # when the tables were this version's, on the monotonic clock
        self.trouble = ""

    def round(self) -> bool:
        """Ship the closed segments. False where the database does not take them; they stay in the spool."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if time.monotonic() - self.migrated > LOOK and not self._migrate():
                return False
            self.took = 0.0
            trouble = self._attempt(spool.adopt, self.root)
            for path in spool.segments(self.root):
                trouble = self._attempt(self._ship, path) or trouble
        except SQLAlchemyError as error:
            self.migrated = -math.inf  # it may have been emptied, or removed: the next round makes the tables
            return self._away(type(getattr(error, "orig", None) or error).__name__)  # never its text: it holds rows
        except OSError as error:
            return self._away(str(error))
        if trouble:
            return self._away(trouble)
        if self.trouble:
            json_logging.emit("prediction log is back", "info")
            self.trouble = ""
        return True

    def _attempt(self, do: Callable[[Path], None], path: Path) -> str:
        """Do one thing of a round; returns its trouble, which holds up no other. Raises where the database is away."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            do(path)
        except SQLAlchemyError:
            raise
        except OSError as error:
            return str(error)
        except Exception as error:  # the next round tries again
            return f"{path.name}: {type(error).__name__}"  # never its text
        return ""

    def _migrate(self) -> bool:
        """Migrate the tables in a process of its own, whose end frees the memory that Alembic takes."""
        if (self.database.revision(self.engine) or "") < self.database.HEAD:
            command = [sys.executable, "-m", "services.predictionlog", "migrate"]
            environment = {**os.environ, "PREDICTION_LOG_URL": self.url}
            done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                return self._away(done.stderr.strip().rpartition("\n")[2])
        self.chain.look(self.engine)
        self.migrated = time.monotonic()
        return True

    def _away(self, reason: str) -> bool:
        if reason != self.trouble:
            json_logging.emit("prediction log away", "error", reason=reason)
        self.trouble = reason
        return False

    def _ship(self, path: Path) -> None:
        segment = Segment(path)
        count = self._load(segment, path.stat().st_mtime)
        if segment.unreadable or segment.refused:  # kept for a person to look at
            lines = _write(path.with_suffix(DAMAGED), segment)
            json_logging.emit("segment damaged", "error", file=path.name, lines=lines)
            path.unlink()
        elif not count or not self.queue.offer(path, count):
            path.unlink()

    def close(self) -> None:
        """Say which batch of the chain was the last, where the database takes that now."""
        from sqlalchemy.exc import SQLAlchemyError

        with contextlib.suppress(SQLAlchemyError):
            self.chain.publish(self.engine)

    def replay(self, path: Path) -> int:
        """Insert what was set aside in a file; returns the number of lines that stay there. The others leave it.

        Raises :class:`OSError` and :class:`sqlalchemy.exc.SQLAlchemyError`.
        """
        with path.open("rb+") as file:
            if not file.read().endswith(b"\n"):  # an editor's: here the last line counts too
                file.write(b"\n")
        segment = Segment(path)
        self._load(segment, 0.0)
        return _write(path, segment)

    def _load(self, segment: Segment, written: float) -> int:
        """Insert the rows and events of a segment, except those that the database refuses; returns the number of rows."""
        rows, count = segment.rows(), 0
        began = time.monotonic()
        while some := list(islice(rows, BATCH)):
            read = time.monotonic() - began
            if time.time() - written < LATE:
                self.rest(REST * self.took)
            began = time.monotonic()
            segment.refused |= self._insert(self.chain.insert, some, "prediction_id")
            count += len(some)
            self.took = read + time.monotonic() - began
            began = time.monotonic()
        segment.refused |= self._insert(self.chain.insert_events, segment.events, "event_id")
        return count

    def _insert(self, insert: Insert, rows: list[dict[str, Any]], own: str) -> set[str]:
        """Insert the rows; returns the ids of those that the database refuses for their values. The others are inserted."""
        try:
            insert(self.engine, rows)
        except Exception as error:
            if not self.database.of_values(error):
                raise
            half = len(rows) // 2
            if not half:
                return {rows[0][own]}
            return self._insert(insert, rows[:half], own) | self._insert(insert, rows[half:], own)
        if own == "prediction_id":
            shipped.inc(len(rows))
        return set()


def _write(path: Path, segment: Segment) -> int:
    """Replace a file by the lines of the segment that are poison, or remove it; returns how many they are."""
    found, facts = list(segment.poison()), segment.path.stat()
    for left in path.parent.glob(
        f".{path.name}.*"
    ):  # of a try that could not even clean up: no erasure knows that name
        left.unlink()
    if found:
        Disk().write_file(path, b"".join(found), durable=True)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # none of them is younger: an erasure relies on that
    else:
        path.unlink(missing_ok=True)
    return len(found)


def main(arguments: Sequence[str]) -> int:
    """Ship a spool until the parent is gone; returns 1 where the database does not take the last rows."""
    root = Path(arguments[0])
    if be("shipper", root / LOCK) is None:
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops the service ends the workers first
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if counts := os.environ.get(process_metrics.VARIABLE):
        process_metrics.fold(Path(counts))  # also of a shipper before this one
    with contextlib.suppress(OSError):
        os.nice(5)  # predictions come first
    shipper = Shipper(root, os.environ["PREDICTION_LOG_URL"], lambda seconds: select.select([0], [], [], seconds))
    pause = EVERY
    while not select.select([0], [], [], pause)[0]:
        pause = EVERY if shipper.round() else min(pause * 2, MOST_BACK_OFF)
    done = shipper.round()
    shipper.close()
    return 0 if done else 1


if __name__ == "__main__":
    json_logging.log_uncaught()
    sys.exit(main(sys.argv[1:]))
