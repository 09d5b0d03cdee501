"""Logs one JSON object per line on stdout, or plain text when stdout is a terminal."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

_TERMINAL = sys.stdout.isatty() if sys.stdout else False


def emit(event: str, level: str = "info", **fields: Any) -> None:
    """Log one event. The line is sent in one ``write``, so lines of several processes do not mix."""
    if _TERMINAL:
        words = " ".join(f"{key}={value}" for key, value in fields.items() if value is not None)
        line = f"{datetime.now():%H:%M:%S} {level:<7} {event} {words}\n"
    else:
        record = {"time": now(), "level": level, "event": event, "pid": os.getpid(), **fields}
        line = json.dumps(record, default=str, ensure_ascii=False) + "\n"
    write(line.encode("utf-8", "backslashreplace"))


def write(line: bytes) -> None:
    """Write a finished line. A closed stdout is ignored."""
    with contextlib.suppress(OSError):
        os.write(1, line)


def now() -> str:
    """The current time in UTC, as ISO 8601 with milliseconds."""
    milliseconds = time.time_ns() // 1_000_000
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class JsonHandler(logging.Handler):
    """Writes the records of :mod:`logging` as the same JSON lines, with the stack trace as ``trace``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        extra = {"trace": trace} if trace else {}
        emit(record.getMessage(), record.levelname.lower(), logger=record.name, **extra)


# gunicorn's ``logconfig_dict``. The applications log their own requests, so gunicorn's access log is off.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {"json": {"class": "services.web.json_logging.JsonHandler"}},
    "root": {"level": "INFO", "handlers": ["json"]},
    "loggers": {
        "gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
    },
}
