"""What was shipped goes on to whoever asked for it: closed segments, in a queue of files that is bounded.

The queue is a directory that its reader makes when it is ready and removes when it is done; the shipper moves shipped segments
into it, and what does not fit is dropped and counted. So a slow reader costs nobody anything but rows of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from services.predictionlog.spool import CLOSED

MAX_BYTES = 64 * 1024 * 1024


class Queue:
    """The queue in ``directory``; beside it, ``dropped`` counts the rows that did not fit."""

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._dropped = directory.with_name("dropped.json")

    @classmethod
    def beside(cls, spool: Path) -> Queue:
        """The challenger's queue of the DATA_DIR that has this spool: on the same file system, so that a rename will do."""
        return cls(spool.with_name("challenger") / "queue")

    def open(self) -> None:
        """From now on the reader wants what is shipped. Raises :class:`OSError`."""
        self.directory.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """The reader is done."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._dropped.unlink(missing_ok=True)

    def is_open(self) -> bool:
        """Whether there is a reader, or was one that died."""
        return self.directory.is_dir()

    def offer(self, segment: Path, rows: int) -> bool:
        """Move a segment into the queue if it is wanted and fits; False: it is still where it was."""
        if not self.is_open():
            return False
        with suppress(OSError):  # whatever is wrong with the queue, the log goes on
            if self.size() + segment.stat().st_size <= self.max_bytes:
                os.rename(segment, self.directory / f"{segment.parent.name}-{segment.name}")
                return True
            self._dropped.write_text(json.dumps(self.dropped() + rows), "utf-8")
        return False

    def segments(self) -> list[Path]:
        """What waits, oldest first."""
        found = []
        for path in self.directory.glob(f"*{CLOSED}"):
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def size(self) -> int:
        """Bytes that wait."""
        total = 0
        for path in self.directory.glob(f"*{CLOSED}"):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def dropped(self) -> int:
        """Rows that did not fit since the reader opened the queue."""
        try:
            return int(json.loads(self._dropped.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return 0
