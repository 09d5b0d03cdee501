"""The summary of nothing: every key that ``monitor.json`` has before anything was computed. Imports nothing that is large."""

from __future__ import annotations

from typing import Any

from services.monitoring.analysis.traffic import moment, series

FORMAT = 1
HOUR, DAY = 3600, 86_400
LEAST_ROWS = 500  # fewer are not judged: a few tries are no population
TRAFFIC = {"minute": (60, 180), "hour": (HOUR, 168), "day": (DAY, 30)}  # seconds and number of steps


def window(now: float, days: int) -> float:
    """Where the last ``days`` begin, at a full hour."""
    return now // HOUR * HOUR - days * DAY


def empty(days: int, now: float, computed: bool = True) -> dict[str, Any]:
    """A summary without rows; ``computed`` is whether anybody looked for them."""
    return {
        "format": FORMAT,
        "computed": moment(now) if computed else None,
        "trouble": None,
        "window": {
            "days": days,
            "since": moment(window(now, days)),
            "until": moment(now),
            "least_rows": LEAST_ROWS,
        },
        "models": [],
        "traffic": {name: series([], now, step, steps, []) for name, (step, steps) in TRAFFIC.items()},
        "events": [],
    }
