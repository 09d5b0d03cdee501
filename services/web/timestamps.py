"""Times as text: ISO 8601 in UTC. Texts of one precision sort by time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Literal, overload

Precision = Literal["seconds", "milliseconds", "microseconds"]


@overload
def iso(seconds: float, precision: Precision = ...) -> str: ...
@overload
def iso(seconds: None, precision: Precision = ...) -> None: ...
@overload
def iso(seconds: float | None, precision: Precision = ...) -> str | None: ...
def iso(seconds: float | None, precision: Precision = "microseconds") -> str | None:
    """A Unix time as text; None stays None. The database of the prediction log has microseconds."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)


def now(precision: Precision = "microseconds") -> str:
    """The current time as text."""
    return iso(time.time(), precision)


def parse(text: str) -> int:
    """The whole seconds since 1970 of a text; a text without a time zone is in UTC."""
    found = datetime.fromisoformat(text)
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())
