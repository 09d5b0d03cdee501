"""The one way in which services write a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, overload

Precision = Literal["seconds", "milliseconds", "microseconds"]


@overload
def iso(seconds: float, precision: Precision = ...) -> str: ...
@overload
def iso(seconds: None, precision: Precision = ...) -> None: ...
@overload
def iso(seconds: float | None, precision: Precision = ...) -> str | None: ...
def iso(seconds: float | None, precision: Precision = "milliseconds") -> str | None:
    """A Unix time as ISO 8601 in UTC; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)
