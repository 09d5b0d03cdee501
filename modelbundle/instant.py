"""The instant from which a model answers, on all hosts at once: ``notBefore`` of a pin and of a statement."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime

MOST_DAYS = 7
MOST_AHEAD = MOST_DAYS * 86_400.0  # seconds
EARLIEST = datetime.fromisoformat("2020-01-01T00:00:00+00:00").timestamp()  # before it, a year is mistyped
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|\+00:00)")


class InstantError(ArgumentTypeError, ValueError):
    """A text that is no instant, or one out of bounds. The message goes after the name of what has it."""


def parse(text: object) -> float:
    """The Unix time of an instant as RFC 3339 in UTC, such as ``2026-11-30T06:00:00Z``; 0 for None and for an empty text.

    Raises :class:`InstantError` for everything else, and for years before 2020.
    """
    if text is None or text == "":
        return 0.0
    try:
        if not isinstance(text, str) or not _FORM.fullmatch(text):
            raise ValueError
        found = datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise InstantError("must be a time in UTC as RFC 3339, such as 2026-11-30T06:00:00Z") from None
    if found < EARLIEST:
        raise InstantError("is far in the past: before 2020")
    return found


def text(instant: float) -> str:
    """A Unix time as a text for people and for :func:`parse`, with milliseconds."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def bound(instant: float, now: float) -> None:
    """Raise :class:`InstantError` where an instant is more than seven days after ``now``; both are Unix times."""
    if not instant <= now + MOST_AHEAD:
        raise InstantError(f"is more than {MOST_DAYS} days ahead")
