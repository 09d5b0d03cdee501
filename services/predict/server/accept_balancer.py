"""How many connections each worker of a replica has, so that a new one goes where there are fewest.

Workers that wait on one socket are all woken by a connection, and the fastest takes it: often the same one every time. Kept
connections, as a proxy has, then stay with one worker, while the other one's processor rests.
"""

from __future__ import annotations

import mmap
import time

WORKERS = 256  # numbers of workers that are told apart; far more than live at a time
PATIENCE = 0.01  # seconds that a connection is left to others
STEP = 0.0001  # seconds between two looks


class Crowd:
    """Numbers that all workers see; made before they are forked."""

    def __init__(self) -> None:
        self._open = memoryview(mmap.mmap(-1, WORKERS * 4)).cast("i")

    def tell(self, worker: int, connections: int | None) -> None:
        """How many this worker has; None where it takes none now, or has ended."""
        self._open[worker % WORKERS] = 0 if connections is None else connections + 1

    def fewest(self) -> int:
        """The smallest number of any worker that takes connections; 0 where there is none."""
        return min(filter(None, self._open), default=1) - 1

    def fewer(self, worker: int) -> int:
        """A number that changes with what those who have fewer than this worker take or end."""
        own = self._open[worker % WORKERS]
        return sum(number for number in self._open if number < own)


class Manners:
    """Leaves connections to those who have fewer as long as they take some; :data:`PATIENCE` after they last did, to nobody.

    So nobody waits long for a worker that hangs, and no two in a row do: of those who do not hang, the one with the fewest
    waits for nobody else.
    """

    def __init__(self) -> None:
        self._since = self._last = 0.0
        self._fewer = 0

    def wait(self, fewer: int) -> bool:
        """Whether to leave a connection that waits now where it is, given :meth:`Crowd.fewer`; asked again while it does."""
        now = time.monotonic()
        if fewer != self._fewer or now - self._last > PATIENCE:
            self._since = now
        self._last, self._fewer = now, fewer
        if now - self._since > PATIENCE:
            return False
        time.sleep(STEP)  # who should take it may need our processor
        return True
