"""Times as the prediction log and ``monitor.json`` write them: ISO 8601 in UTC. Texts of one precision sort by time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def iso(seconds: float, precision: str = "microseconds") -> str:
    """A Unix time as text; the database has microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)


def now() -> str:
    """The current time, as the database has times."""
    return iso(time.time())


def parse(text: str) -> int:
    """The whole seconds since 1970 of a text; a text without a time zone is in UTC."""
    found = datetime.fromisoformat(text)
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())
