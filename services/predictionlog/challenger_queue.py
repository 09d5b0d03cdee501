"""The challenger's queue: segments that the shipper has shipped, for the challenger to score, in a bounded directory.

The challenger creates the directory when it is ready, and removes it at its end. The shipper moves shipped segments into it.
Segments that do not fit are dropped, and their rows are counted. So a slow challenger loses rows of its own and delays no other
process.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from services import private
from services.predictionlog.spool import CLOSED

MAX_BYTES = 64 * 1024 * 1024


class Queue:
    """The queue in ``directory``. The file ``dropped.json`` next to it counts the rows that did not fit."""

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._dropped = directory.with_name("dropped.json")

    @classmethod
    def of_spool(cls, spool: Path) -> Queue:
        """The challenger's queue of the DATA_DIR that has this spool, on the same file system, so that a rename will do."""
        return cls(spool.with_name("challenger") / "queue")

    def open(self) -> None:
        """Ask for shipped segments from now on. Raises :class:`OSError`."""
        private.directory(self.directory)

    def close(self) -> None:
        """Ask for no more segments, and drop those that wait."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._dropped.unlink(missing_ok=True)

    def is_open(self) -> bool:
        """Whether there is a reader, or one that died without closing."""
        return self.directory.is_dir()

    def offer(self, segment: Path, rows: int) -> bool:
        """Move a segment into the queue, if the queue is open and has room. False where the segment stays in its place."""
        if not self.is_open():
            return False
        with suppress(OSError):  # trouble with the queue must not stop the log
            if self.size() + segment.stat().st_size <= self.max_bytes:
                os.rename(segment, self.directory / f"{segment.parent.name}-{segment.name}")
                return True
            self._dropped.touch(private.FILE)
            self._dropped.write_text(json.dumps(self.dropped() + rows), "utf-8")
        return False

    def segments(self) -> list[Path]:
        """The waiting segments, oldest first."""
        return [path for _, path, _ in sorted(self._waiting())]

    def size(self) -> int:
        """The bytes of the waiting segments."""
        return sum(size for *_, size in self._waiting())

    def _waiting(self) -> list[tuple[int, Path, int]]:
        """Time of change, path and bytes of the waiting segments; the reader may remove any of it meanwhile."""
        found = []
        with suppress(FileNotFoundError):
            for path in self.directory.iterdir():
                with suppress(FileNotFoundError):
                    if path.suffix == CLOSED:
                        facts = path.stat()
                        found.append((facts.st_mtime_ns, path, facts.st_size))
        return found

    def dropped(self) -> int:
        """Rows that did not fit since the reader opened the queue."""
        try:
            return int(json.loads(self._dropped.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return 0
