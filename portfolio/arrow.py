"""Arrow, set up for a process that reads or writes books."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa


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


def let_memory_go() -> None:
    """Give freed memory back to the system; other pools keep it."""
    pa.set_memory_pool(pa.system_memory_pool())
