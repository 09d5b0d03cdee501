"""Arrow, set up for a process that reads or writes books."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEPT = 512 << 20  # bytes at the end of the heap
LARGEST = 32 << 20  # bytes of a block in the heap; glibc takes no more


class NoPandas:
    """Finds no pandas. For :data:`sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, _: Sequence[str] | None = None, __: ModuleType | None = None) -> None:
        """Raise :class:`ImportError` for pandas, and leave all else to others."""
        if name == "pandas":
            raise ImportError("this process does without pandas")


def leave_out_pandas() -> None:
    """Let this process do without pandas, which only pickled pipelines need.

    Arrow imports it to ask whether a list is one of its series: that takes half a second, and 40 MB of each process.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, NoPandas)


def use_system_memory() -> None:
    """Let Arrow take memory from the C library; its other pools keep freed memory."""
    pa.set_memory_pool(pa.system_memory_pool())


def keep_freed_memory() -> None:
    """Let a process that works on one piece after the other reuse what it has freed.

    glibc gives large blocks back to the system, which clears each page before it gives it out again: a twentieth of the time.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, LARGEST)
