"""The prediction log of one worker: opened after the fork, closed at its end, and its complaints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from modelbundle.durable import obstacle
from services.predict.settings import NO_LOG, Settings
from services.predictionlog.chain.head import published
from services.predictionlog.spool import Writer
from services.web import json_logging

AGAIN = 1.0  # seconds before a DATA_DIR that cannot be written is tried again
RECENT = 3.0  # seconds for which a row that was not logged counts as trouble
SAY = 10.0  # seconds between complaints about a spool that takes nothing


class PredictionLog:
    """Has a spool's ``writer`` from :meth:`open`, after the fork, to :meth:`close`; nothing is logged while it is None.

    Where the spool or the disk is full, predictions are answered all the same: ``lost`` is told how many were not logged.
    """

    def __init__(self, settings: Settings, lost: Callable[[int], None] = lambda _: None) -> None:
        self.lost = lost
        self.root = settings.data_dir / "spool"
        self.max_bytes = settings.max_spool_bytes
        self.writer: Writer | None = None
        self._url = settings.prediction_log_url
        self._said = -SAY
        self._missed, self._missed_at = "", -RECENT  # the last error, and when
        self._why_not: OSError | None = None  # while DATA_DIR cannot be written
        self._closing = threading.Event()

    def open(self) -> None:
        """Begin; where DATA_DIR cannot be written now, as soon as it can."""
        if self._url == NO_LOG:
            return
        if not self._begin():
            threading.Thread(target=self._insist, name="prediction log", daemon=True).start()

    def _begin(self) -> bool:
        try:
            writer = Writer(self.root, self.max_bytes)
        except OSError as error:
            self._why_not = error
            self.missed(0)
            return False
        writer.start()
        self.writer, self._why_not = writer, None
        return True

    def _insist(self) -> None:
        while not self._closing.wait(AGAIN) and not self._begin():
            pass

    def close(self) -> None:
        """End in good order: the shipper takes what was appended."""
        self._closing.set()
        if self.writer is not None:
            self.writer.close()

    def note(self, line: bytes) -> bool:
        """Record an event; False where the disk does not take it now."""
        if self._why_not is not None:
            return False
        if self.writer is not None:
            try:
                self.writer.append(line, whatever=True)
            except OSError as error:
                json_logging.emit("event not logged", "error", reason=str(error))
                return False
        return True

    def trouble(self) -> str:
        """Why predictions may not be logged now; empty where nothing is known against it, and where the log is off."""
        if self._url == NO_LOG:
            return ""
        found = obstacle(self.root.parent) if self.root.parent.exists() else ""
        if not found and (self._why_not is not None or time.monotonic() - self._missed_at < RECENT):
            found = self._missed
        if not found and self.writer is not None:
            found = self.writer.trouble
        return f"DATA_DIR: {found}" if found else ""

    def head(self) -> dict[str, Any] | None:
        """The last batch of the chain of this spool, as the shipper wrote it down; None where nothing has been shipped."""
        return published(self.root)

    def missed(self, rows: int, error: OSError | None = None) -> None:
        """``rows`` answers were not logged: the disk did not take them, or DATA_DIR cannot be written.

        A log that is off misses none.
        """
        error = error or self._why_not
        if error is None:
            return
        self.lost(rows)
        now = time.monotonic()
        self._missed, self._missed_at = error.strerror or str(error), now
        if now - self._said > SAY:
            self._said = now
            json_logging.emit("predictions not logged", "error", reason=str(error))
