"""What the threads of this process do with models now, so that a watchdog finds what takes too long.

A call is registered by its thread, without a lock and without a look at the clock: the watchdog measures how long it has seen it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import get_ident

LOADING, SCORING = "loading", "scoring"
Call = tuple[str, str, int]  # LOADING or SCORING, the model's SHA-256, and rows
running: dict[int, Call] = {}  # by thread


@contextlib.contextmanager
def call(doing: str, sha256: str, rows: int = 0) -> Iterator[None]:
    """This thread loads a model, or scores rows with it. A call within a call would end both."""
    own = get_ident()
    running[own] = doing, sha256, rows
    try:
        yield
    finally:
        del running[own]
