"""The current model: its bytes, read once, held only after they were found to hash to the pin."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from services import jsonlog
from services.model import pin as pins
from services.model.pin import Pin, PinError
from services.model.shelf import NotThere, Shelf

WATCH = 0.2  # seconds between looks at the pin file
MAX_STATEMENT_BYTES = 65_536
AGAIN = 2.0  # seconds before a pin that could not be served is tried again


@dataclass(frozen=True, slots=True)
class Served:
    """What is handed out: verified bytes, the statement beside them if there is one, and since when (Unix time)."""

    pin: Pin
    content: bytes
    statement: bytes | None
    since: float


def read_verified(shelf: Shelf, pin: Pin, max_bytes: int) -> Served:
    """The pinned file's bytes; raises :class:`PinError` with the expected and the found hash, or why it cannot be read."""
    content = shelf.read(pin.file, max_bytes)
    found = hashlib.sha256(content).hexdigest()
    if found != pin.sha256:
        raise PinError(f"{pin.file}: expected SHA-256 {pin.sha256}, found {found}")
    try:
        statement = shelf.read(f"{pin.file}.sig", MAX_STATEMENT_BYTES)
    except NotThere:
        statement = None
    return Served(pin, content, statement, time.time())


class Vault:
    """Holds what is served and, where the pin is a file, follows it."""

    def __init__(self, shelf: Shelf, pin: Pin, pin_file: Path | None, max_bytes: int) -> None:
        self.shelf = shelf
        self.pin_file = pin_file
        self.max_bytes = max_bytes
        self.served = read_verified(shelf, pin, max_bytes)
        self.pinned: dict[str, str] | None = {"file": pin.file, "sha256": pin.sha256}
        self.why_not: str | None = None
        self._seen = self._mark()
        self._again = 0.0

    def watch(self) -> None:
        """Follow the pin file in a thread; does nothing where the pin is not a file."""
        if self.pin_file is not None:
            threading.Thread(target=self._watch, name="pin", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH)
            try:
                self.look()
            except Exception as error:  # the service goes on with what it has
                jsonlog.emit("pin not followed", "error", reason=f"{type(error).__name__}: {error}")

    def look(self) -> None:
        """Re-read the pin file if it changed. A pin that cannot be served leaves the old model in place, says so, and is
        tried again now and then: its file may come later."""
        assert self.pin_file is not None
        mark = self._mark()
        if mark == self._seen and (self.why_not is None or time.monotonic() < self._again):
            return
        self._seen, self._again = mark, time.monotonic() + AGAIN
        try:
            pin = pins.read(self.pin_file)
            self.pinned = {"file": pin.file, "sha256": pin.sha256}
            served = read_verified(self.shelf, pin, self.max_bytes)
        except PinError as error:
            if str(error) != self.why_not:
                jsonlog.emit("pin refused", "error", reason=str(error), serving=self.served.pin.sha256)
            self.why_not = str(error)
            return
        old, self.served, self.why_not = self.served, served, None
        jsonlog.emit("pin changed", old=old.pin.sha256, file=pin.file, sha256=pin.sha256)

    def _mark(self) -> tuple[int, int, int] | None:
        if self.pin_file is None:
            return None
        try:
            facts = self.pin_file.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns, facts.st_size
