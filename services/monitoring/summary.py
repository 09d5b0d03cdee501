"""The empty summary: every key of ``monitor.json``, before the first computation. Imports no large library."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from services.monitoring.analysis.traffic import series
from services.web.timestamps import iso

FORMAT = 1
FILE = "monitor.json"  # in DATA_DIR
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


class SummaryFile:
    """``monitor.json`` of a directory, which is read again when it was replaced. ``before`` is its content until there is one."""

    def __init__(self, data: Path, before: dict[str, Any]) -> None:
        self.path = data / FILE
        self.before = before
        self._kept: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})

    def read(self) -> dict[str, Any]:
        """What the monitor wrote last."""
        try:
            facts = os.stat(self.path)
            found = facts.st_ino, facts.st_mtime_ns  # the time alone is too coarse: some file systems count in seconds
            if found != self._kept[0]:
                self._kept = (found, json.loads(self.path.read_bytes()))
        except (OSError, ValueError):
            return self.before
        return self._kept[1]

    def evidence(self, champion: str | None, challenger: str | None) -> dict[str, Any] | None:
        """The evidence for the one and the other, without its path; None where no outcome of both is known."""
        written = self.read()
        for model in written["models"]:
            for other in model.get("challengers", ()):
                if (model["model_version"], other["model_version"]) == (champion, challenger) and other.get("evidence"):
                    own = {name: value for name, value in other["evidence"].items() if name != "path"}
                    return {**own, "computed": written["computed"]}
        return None
