"""The pinned model and its challenger. Their bytes are read once, and held only if they hash to their pins."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from modelbundle.format.statement import CHALLENGER, CHAMPION, SUFFIXES
from services.model import pin as pins
from services.model.pin import Pin, PinError, Pins
from services.model.storage import FileMissing, Storage
from services.web import json_logging

WATCH = 0.2  # seconds between looks at the pin file
MARK_BYTES = 4096  # of the pin file, which is smaller
MAX_STATEMENT_BYTES = 65_536
AGAIN = 2.0  # seconds before a pin that could not be served is tried again


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is served: its verified bytes, its statement if it has one, and since when (Unix time)."""

    pin: Pin
    content: bytes
    statement: bytes | None
    since: float


def read_verified(storage: Storage, pin: Pin, max_bytes: int, role: str = CHAMPION) -> ServedModel:
    """The pinned file's bytes, and the statement that it is wanted in this role.

    Raises :class:`PinError` with the expected and the found hash, or why it cannot be read.
    """
    content = storage.read(pin.file, max_bytes)
    found = hashlib.sha256(content).hexdigest()
    if found != pin.sha256:
        raise PinError(f"{pin.file}: expected SHA-256 {pin.sha256}, found {found}")
    try:
        statement = storage.read(f"{pin.file}{SUFFIXES[role]}", MAX_STATEMENT_BYTES)
    except FileMissing:
        statement = None
    return ServedModel(pin, content, statement, time.time())


class PinnedChallenger:
    """The challenger's pin. A thread of its own reads and verifies it, so it never delays or stops the champion."""

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        self.storage = storage
        self.max_bytes = max_bytes
        self.pinned: Pin | None = None
        self.served: ServedModel | None = None
        self.why_not: str | None = None
        self._wish: Pin | PinError | None = None
        self._wished = threading.Event()

    def wish(self, wanted: Pin | PinError | None) -> None:
        """Set the challenger that is wanted from now on, or none."""
        self._wish = wanted
        self._wished.set()

    def watch(self) -> None:
        """Start a thread that serves the wanted challenger, and tries again where it cannot be served."""
        threading.Thread(target=self._watch, name="challenger", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._wished.wait(AGAIN if self.why_not else None)
            try:
                self.look()
            except Exception as error:  # it is tried again
                self._refuse(f"{type(error).__name__}: {error}")

    def look(self) -> None:
        """Serve the wanted challenger. Where it cannot be served, none is: an earlier challenger does not stay in its place."""
        self._wished.clear()
        wish = self._wish
        self.pinned = wish if isinstance(wish, Pin) else None
        if self.served is not None and self.served.pin != wish:
            self.served = None
        if not isinstance(wish, Pin):
            self._refuse(str(wish) if wish else None)
        elif self.served is None:
            try:
                self.served = read_verified(self.storage, wish, self.max_bytes, CHALLENGER)
            except PinError as error:
                self._refuse(str(error))
                return
            self.why_not = None
            json_logging.emit("challenger pinned", file=wish.file, sha256=wish.sha256)

    def _refuse(self, reason: str | None) -> None:
        if reason and reason != self.why_not:
            json_logging.emit("challenger not served", "error", reason=reason)
        self.why_not = reason


class PinnedModels:
    """Holds the models that are served. Where the pins are in a file, it follows that file."""

    def __init__(self, storage: Storage, wanted: Pins, pin_file: Path | None, max_bytes: int) -> None:
        self.storage = storage
        self.pin_file = pin_file
        self.max_bytes = max_bytes
        self.wanted = wanted
        self.served = read_verified(storage, wanted.champion, max_bytes)
        self.pinned = wanted.champion
        self.why_not: str | None = None
        self.challenger = PinnedChallenger(storage, max_bytes)
        self.challenger.wish(wanted.challenger)
        self._seen = self._mark()
        self._again = 0.0

    def watch(self) -> None:
        """Start the threads: one for the challenger, and one for the pin file where there is one."""
        self.challenger.watch()
        if self.pin_file is not None:
            threading.Thread(target=self._watch, name="pin", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH)
            try:
                self.look()
            except Exception as error:  # the service goes on with what it has
                json_logging.emit("pin not followed", "error", reason=f"{type(error).__name__}: {error}")

    def look(self) -> None:
        """Re-read the pin file if it changed. A pin that cannot be served leaves the old model in place, says so, and is
        tried again now and then: its file may come later."""
        assert self.pin_file is not None
        mark = self._mark()
        if mark == self._seen and (self.why_not is None or time.monotonic() < self._again):
            return
        changed = mark != self._seen
        self._seen, self._again = mark, time.monotonic() + AGAIN
        try:
            wanted = pins.read(self.pin_file)
            if changed and self._challenge(wanted) and self.why_not is None:
                return
            self.pinned = wanted.champion
            served = read_verified(self.storage, wanted.champion, self.max_bytes)
        except PinError as error:
            if str(error) != self.why_not:
                json_logging.emit("pin refused", "error", reason=str(error), serving=self.served.pin.sha256)
            self.why_not = str(error)
            return
        old, self.served, self.why_not = self.served, served, None
        json_logging.emit("pin changed", old=old.pin.sha256, file=served.pin.file, sha256=served.pin.sha256)

    def _challenge(self, wanted: Pins) -> bool:
        """Pass the challenger on, unless the file changed in the champion alone; True where it changed in the challenger alone:
        then the champion's pin was not set anew."""
        before, self.wanted = self.wanted, wanted
        champion_stays = wanted.champion.same(before.champion)
        other, new = before.challenger, wanted.challenger
        challenger_stays = new.same(other) if isinstance(new, Pin) else str(new) == str(other)
        if champion_stays or not challenger_stays:
            self.challenger.wish(new)
        return champion_stays and not challenger_stays

    def _mark(self) -> tuple[int, int, bytes] | None:
        """What changes when the pins are set, to others or again. File times are too coarse to tell two pins apart."""
        if self.pin_file is None:
            return None
        try:
            with self.pin_file.open("rb") as file:
                facts = os.fstat(file.fileno())
                return facts.st_ino, facts.st_mtime_ns, file.read(MARK_BYTES)
        except OSError:
            return None
