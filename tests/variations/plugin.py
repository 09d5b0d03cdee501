"""A pytest plugin that makes this machine another one: directories in another order, other last bits, midnight.

``VARY`` names what varies, separated by commas: ``directories``, ``bits``, ``midnight``.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

VARIED = os.environ.get("VARY", "").split(",")
DAY = 86_400
BEFORE = float(os.environ.get("VARY_BEFORE", "0.1"))  # seconds from a test's first moment to midnight


class Reversed:
    """What ``os.scandir`` gives, last entry first."""

    def __init__(self, entries: Any) -> None:
        with entries:
            self._entries = iter([*entries][::-1])

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        return self

    def __next__(self) -> os.DirEntry[str]:
        return next(self._entries)

    def __enter__(self) -> Reversed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open."""


def reverse_directories() -> None:
    """File systems give a directory's entries in an order of their own; here it is turned round."""
    scandir, listdir = os.scandir, os.listdir
    os.scandir = lambda *place: Reversed(scandir(*place))  # type: ignore[assignment]
    os.listdir = lambda *place: listdir(*place)[::-1]  # type: ignore[assignment]


def nudge(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with every third value one bit higher, as processors with other vector units round it."""

    def nudged(*arguments: Any, **options: Any) -> Any:
        found = function(*arguments, **options)
        if isinstance(found, np.ndarray) and found.dtype.kind == "f":
            found.flat[1::3] = np.nextafter(found.flat[1::3], np.inf)
        return found

    return nudged


def change_bits() -> None:
    """NumPy's exponential and logarithm differ in the last bit between processors."""
    for name in ("exp", "expm1", "log", "log1p"):
        setattr(np, name, nudge(getattr(np, name)))


def pause(seconds: Any) -> None:
    """``time.sleep`` by another system call."""
    select.select([], [], [], seconds)


class Midnight:
    """Each test begins just before midnight, by libfaketime, which reads how far the clock is off from a file.

    libfaketime spoils the system call of ``time.sleep`` (EINVAL), so the tests sleep in ``select``.
    """

    def __init__(self, file: Path) -> None:
        time.sleep = pause
        self.file = file
        self.ahead = float(file.read_text("utf-8"))

    def pytest_runtest_setup(self) -> None:
        """Set the clock to the next midnight but a moment."""
        real = time.time() - self.ahead
        self.ahead = DAY - (real + BEFORE) % DAY
        self.file.write_text(f"+{self.ahead:.3f}\n", "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """What varies from the first test on."""
    if "directories" in VARIED:
        reverse_directories()
    if "bits" in VARIED:
        change_bits()
    if "midnight" in VARIED:
        config.pluginmanager.register(Midnight(Path(os.environ["FAKETIME_TIMESTAMP_FILE"])))
