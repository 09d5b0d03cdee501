"""Logs one JSON object per line on stdout, or plain text when stdout is a terminal."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

CHAIN = 8  # exceptions of one trace at most
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


def trace(error: BaseException) -> str:
    """The frames and the types of an exception and of those that led to it, the first cause first.

    No exception's text: a library puts the value into it that it could not read, and that may be somebody's name.
    """
    parts: list[str] = []
    one: BaseException | None = error
    while one is not None and len(parts) < CHAIN:
        kind = type(one)
        parts.append("".join([*traceback.format_tb(one.__traceback__), f"{kind.__module__}.{kind.__qualname__}"]))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\n".join(reversed(parts))


def log_uncaught() -> None:
    """What no code catches, in any thread of this process, ends as one line of the log, without the exception's text."""
    sys.excepthook = lambda _kind, error, _frames: emit("uncaught", "error", trace=trace(error))

    def of_thread(facts: threading.ExceptHookArgs) -> None:
        if facts.exc_value is not None:
            emit("uncaught", "error", trace=trace(facts.exc_value), thread=facts.thread and facts.thread.name)

    threading.excepthook = of_thread


class JsonHandler(logging.Handler):
    """Writes the records of :mod:`logging` as the same JSON lines, with :func:`trace` of an exception."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        error = record.exc_info[1] if record.exc_info else None
        extra = {"trace": trace(error)} if error else {}
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
