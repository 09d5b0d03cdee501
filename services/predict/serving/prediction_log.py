"""The prediction log of one worker: opened after the fork, closed at its end, and its complaints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from services.predict.settings import NO_LOG, Settings
from services.predictionlog.spool import Writer
from services.web import json_logging

AGAIN = 1.0  # seconds before a DATA_DIR that cannot be written is tried again
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

    def missed(self, rows: int, error: OSError | None = None) -> None:
        """``rows`` answers were not logged: the disk did not take them, or DATA_DIR cannot be written.

        A log that is off misses none.
        """
        error = error or self._why_not
        if error is None:
            return
        self.lost(rows)
        now = time.monotonic()
        if now - self._said > SAY:
            self._said = now
            json_logging.emit("predictions not logged", "error", reason=str(error))
