"""Rows over time, from the log: by band, by version, and their expected rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from services.web.timestamps import iso

NO_BAND = "none"


@dataclass(frozen=True, slots=True)
class RowCount:
    """Rows of one version and band in one minute (seconds since 1970), and the sum of their probabilities.

    ``last`` is the last of the rows: its time, to the microsecond, and its prediction id. It sorts as text.
    """

    version: str
    minute: int
    band: str | None
    rows: int
    probabilities: float
    last: str = ""


def series(counts: Iterable[RowCount], until: float, step: int, steps: int, bands: Sequence[str]) -> dict[str, Any]:
    """A SERIES of ``monitor.json``: ``steps`` steps of ``step`` seconds, the last one holds ``until``.

    ``bands`` are listed first, whether or not there are rows in them. The version that answered last comes first.
    """
    first = (int(until) // step - steps + 1) * step
    rows = [0] * steps
    sums = [0.0] * steps
    by_band = {band: [0] * steps for band in bands}
    by_version: dict[str, list[int]] = {}
    for count in sorted(counts, key=attrgetter("last"), reverse=True):
        at = (count.minute - first) // step
        if 0 <= at < steps:
            rows[at] += count.rows
            sums[at] += count.probabilities
            by_band.setdefault(count.band or NO_BAND, [0] * steps)[at] += count.rows
            by_version.setdefault(count.version, [0] * steps)[at] += count.rows
    return {
        "start": iso(first, "seconds"),
        "step_seconds": step,
        "rows": rows,
        "expected_rate": [total / number if number else None for number, total in zip(rows, sums, strict=True)],
        "bands": by_band,
        "versions": by_version,
    }
