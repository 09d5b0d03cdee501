"""The memory of a worker that large requests may take at a time, beyond their bodies: decoded content, columns, answers.

A small request asks for none. A large one waits for a bounded time until others have given theirs back.
"""

from __future__ import annotations

import ctypes
import threading
import time
from contextlib import suppress
from typing import Any

from services.web.problem import Refused, retry_after

TIMES_BODY = 6  # the budget of a worker, in largest bodies
PATIENCE = 5.0  # seconds that a request waits
FEW_ROWS = 200  # of an answer that asks for none
ROW_BYTES = 2560  # of a row's answer: its objects, its JSON for the log and for the client
TRIM_AFTER = 1 << 20  # bytes that were given back: then free memory goes back to the system, with the next round
TRIM_EVERY = 1.0  # seconds between rounds; a round with every request costs a tenth of the request's time
BUSY = "Other large requests are at work; try again, or send fewer rows at a time."
RELEASE = "request.release"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class MemoryBudget:
    """``most`` bytes. A request has one share of it at most, until it is finished."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._free = most
        self._since_trim = 0
        self._trimming = False
        self._changed = threading.Condition()

    def claim(self, environ: dict[str, Any], size: int) -> None:
        """Give a request ``size`` bytes in place of what it had; raises :class:`Refused` with 503.

        It gives back what it had before it waits, so two requests never wait for each other. One that needs more than
        there is gets all.
        """
        self.release(environ)
        size = min(size, self.most)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= size, PATIENCE):
                environ["request.shed"] = True
                raise Refused(503, BUSY, headers=retry_after(1))
            self._free -= size
        environ[RELEASE] = lambda: self._give_back(size)

    def claim_rows(self, environ: dict[str, Any], rows: int, every_term: bool) -> None:
        """Give a request what the answers to ``rows`` rows take, in place of what its content took."""
        if rows > FEW_ROWS:
            self.claim(environ, rows * ROW_BYTES * (2 if every_term else 1))
        elif RELEASE in environ:
            self.release(environ)

    @staticmethod
    def release(environ: dict[str, Any]) -> None:
        """Give back what a request has, if it has any."""
        if give_back := environ.pop(RELEASE, None):
            give_back()

    def _give_back(self, size: int) -> None:
        with self._changed:
            self._free += size
            self._since_trim += size
            begin = self._since_trim > TRIM_AFTER and not self._trimming
            self._trimming |= begin
            self._changed.notify_all()
        if begin:
            try:
                threading.Thread(target=self._trim, name="trim", daemon=True).start()
            except RuntimeError:  # the system has no thread for this now; the next request tries again
                self._trimming = False

    def _trim(self) -> None:
        """Trim the heaps every :data:`TRIM_EVERY` seconds, until nothing was given back in between."""
        given = True
        while given:
            time.sleep(TRIM_EVERY)
            with self._changed:
                given, self._since_trim = bool(self._since_trim), 0
                self._trimming = given
            if given:
                trim()


def bound_heaps(bytes_in_heap: int = 1 << 20, kept: int = 16 << 20) -> None:
    """Let the C library map what is larger by itself, so that freeing it gives it back to the system; and keep ``kept`` bytes
    of free memory at the end of a heap.

    Without the first, glibc raises its limit to the largest block that was freed, and later blocks of this size stay in its
    heaps. Without the second, it gives back what is above 128 KiB, and every large request takes the same pages anew.
    """
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, bytes_in_heap)
        mallopt(_M_TRIM_THRESHOLD, kept)


def trim() -> None:
    """Give the free memory of the C library's heaps back to the system."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
