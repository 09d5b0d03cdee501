"""Hands every answered row to the prediction log before the answer leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelbundle.validation.validator import Many, One
from services.predict.serving.loaded_models import Serving
from services.predict.settings import Settings
from services.predictionlog import record
from services.predictionlog.shipper import keeper
from services.predictionlog.spool import Writer
from services.supervisor import Keeper
from services.web import json_logging

NONE = "none"
AGAIN = 1.0  # seconds before a DATA_DIR that cannot be written is tried again
SAY = 10.0  # seconds between complaints about a spool that takes nothing


class Recorder:
    """Appends to this process's spool once :meth:`open` was called, after the fork; before that it records nothing.

    Where the spool is full, or the disk is, predictions are answered all the same: ``lost`` is told how many were not logged.
    """

    def __init__(self, settings: Settings, lost: Callable[[int], None] = lambda _: None) -> None:
        self.lost = lost
        self.root = settings.data_dir / "spool"
        self.max_bytes = settings.max_spool_bytes
        self._url = settings.prediction_log_url
        self._writer: Writer | None = None
        self._keeper: Keeper | None = None
        self._said = -SAY
        self._why_not: OSError | None = None  # while DATA_DIR cannot be written
        self._closing = threading.Event()

    def open(self) -> None:
        """Begin; where DATA_DIR cannot be written now, as soon as it can."""
        if self._url == NONE:
            return
        self._keeper = keeper(self.root, self._url)
        self._keeper.start()
        if not self._begin():
            threading.Thread(target=self._insist, name="recorder", daemon=True).start()

    def _begin(self) -> bool:
        try:
            writer = Writer(self.root, self.max_bytes)
        except OSError as error:
            self._why_not = error
            self._complain(0, error)
            return False
        writer.start()
        self._writer, self._why_not = writer, None
        return True

    def _insist(self) -> None:
        while not self._closing.wait(AGAIN) and not self._begin():
            pass

    def close(self) -> None:
        """End in good order: what was appended is shipped."""
        self._closing.set()
        if self._writer is not None:
            self._writer.close()
        if self._keeper is not None:
            self._keeper.stop()

    def __call__(self, serving: Serving, environ: Mapping[str, Any], asked: One | Many, answers: record.Buffer) -> None:
        """Record the answers (an array of JSON) to validated rows."""
        if self._writer is None:
            if self._why_not is not None:
                self._complain(asked.rows, self._why_not)
            return
        parts = record.encode(
            dict(zip(serving.held.model.schema.names, _columns(asked), strict=True)),
            answers,
            serving.generation.number,
            environ["request.id"],
            environ.get("request.key"),
        )
        try:
            self._writer.append(*parts)
        except OSError as error:
            self._complain(asked.rows, error)

    def note(self, line: bytes) -> bool:
        """Record an event; False where the disk does not take it now."""
        if self._why_not is not None:
            return False
        if self._writer is not None:
            try:
                self._writer.append(line, whatever=True)
            except OSError as error:
                json_logging.emit("event not logged", "error", reason=str(error))
                return False
        return True

    def _complain(self, rows: int, error: OSError) -> None:
        self.lost(rows)
        now = time.monotonic()
        if now - self._said > SAY:
            self._said = now
            json_logging.emit("predictions not logged", "error", reason=str(error))


def _columns(asked: One | Many) -> list[Sequence[Any]]:
    """The validated values by feature; what is missing among numbers is NaN, which JSON has as null."""
    if isinstance(asked, One):
        return [(value,) for value in asked.row]
    return [column if isinstance(column, list) else column.tolist() for column in asked.columns]
