"""Balances new connections: a worker leaves a new connection to a worker of the replica that has fewer.

A new connection wakes all workers that wait on the socket, and the fastest accepts it, often the same one every time. Connections
that a proxy keeps open then stay with one worker, while the processor of another worker is idle.
"""

from __future__ import annotations

import mmap
import time

WORKERS = 256  # workers are counted by their number modulo this; far fewer live at a time
PATIENCE = 0.01  # seconds that a connection is left to other workers
STEP = 0.0001  # seconds between two looks


class ConnectionCounts:
    """The number of connections of each worker, in memory that all workers share. Made before they are forked."""

    def __init__(self) -> None:
        self._open = memoryview(mmap.mmap(-1, WORKERS * 4)).cast("i")

    def publish(self, worker: int, connections: int | None) -> None:
        """Set this worker's number; None when it does not accept connections, or has ended."""
        self._open[worker % WORKERS] = 0 if connections is None else connections + 1

    def least(self) -> int:
        """Return the smallest number among the workers that accept connections; 0 when none does."""
        return min(filter(None, self._open), default=1) - 1

    def sum_below(self, worker: int) -> int:
        """Return a number that changes when a worker with fewer connections than this one accepts or ends some."""
        own = self._open[worker % WORKERS]
        return sum(number for number in self._open if number < own)


class AcceptDelay:
    """Decides how long a worker leaves a waiting connection to workers that have fewer.

    It leaves the connection while they accept some, and for :data:`PATIENCE` after they last did. A worker that hangs delays
    connections only once. The least-loaded worker that does not hang accepts at once.
    """

    def __init__(self) -> None:
        self._since = self._last = 0.0
        self._below = 0

    def wait(self, below: int) -> bool:
        """Return whether to leave a connection, given :meth:`ConnectionCounts.sum_below`. While it does, it is asked again."""
        now = time.monotonic()
        if below != self._below or now - self._last > PATIENCE:
            self._since = now
        self._last, self._below = now, below
        if now - self._since > PATIENCE:
            return False
        time.sleep(STEP)  # the worker that should accept it may need this processor
        return True
