"""Shows the progress of a run on standard error: rows per second and time left."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Progress:
    """A bar on a terminal, elsewhere a line every ten seconds; nothing unless ``wanted``."""

    def __init__(self, wanted: bool, total: int | None) -> None:
        terminal = sys.stderr.isatty()
        self._known = total is not None
        self._bar: Any = tqdm(
            total=total,
            unit=" rows",
            unit_scale=True,
            disable=not wanted,
            mininterval=0.2 if terminal else 10,
            file=sys.stderr,
            dynamic_ncols=terminal,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def resumed(self, rows: int) -> None:
        """Count rows that an earlier run scored, but not for the speed."""
        if self._bar.disable:
            return
        self._bar.initial += rows
        self._bar.n += rows
        self._bar.last_print_n += rows

    def advance(self, rows: int, share: float) -> None:
        """Count scored rows. ``share`` of the input is read; the total is estimated from it."""
        if not self._known and share > 0:
            self._bar.total = max(int((self._bar.n + rows) / share), self._bar.n + rows)
        self._bar.update(rows)
