"""The empty summary: every key of ``monitor.json``, before the first computation. Imports no large library."""

from __future__ import annotations

from typing import Any

from services.monitoring.analysis.traffic import series
from services.web.timestamps import iso

FORMAT = 1
HOUR, DAY = 3600, 86_400
LEAST_ROWS = 500  # fewer get no verdict: a few requests are not a population
TRAFFIC = {"minute": (60, 180), "hour": (HOUR, 168), "day": (DAY, 30)}  # seconds and number of steps


def window(now: float, days: int) -> float:
    """The beginning of the last ``days``, at a full hour."""
    return now // HOUR * HOUR - days * DAY


def empty(days: int, now: float, computed: bool = True) -> dict[str, Any]:
    """A summary without rows; ``computed`` says whether the log was read."""
    return {
        "format": FORMAT,
        "computed": iso(now, "seconds") if computed else None,
        "trouble": None,
        "window": {
            "days": days,
            "since": iso(window(now, days), "seconds"),
            "until": iso(now, "seconds"),
            "least_rows": LEAST_ROWS,
        },
        "models": [],
        "traffic": {name: series([], now, step, steps, []) for name, (step, steps) in TRAFFIC.items()},
        "events": [],
    }
