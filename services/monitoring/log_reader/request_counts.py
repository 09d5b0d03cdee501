"""Requests over time: how much a replica's counters grew in each minute of the last day. Each replica has one file.

The log has neither errors nor latencies, and counters have no history. So the monitor of each replica reads the counters in
``PROMETHEUS_MULTIPROC_DIR`` and writes down how much they grew. The monitor that writes ``monitor.json`` adds the files up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelbundle.durable import write
from services import private
from services.web.process_metrics import reading
from services.web.timestamps import iso

MINUTE = 60
KEPT = 24 * 60  # minutes
SUFFIX = ".http.json"
REQUESTS, SECONDS = "peerloan_http_requests", "peerloan_http_request_seconds"
SCORING = ("/predict", "/invocations")  # the routes whose latency is shown
_FACTS = 3  # before the buckets: requests, client errors, server errors


def totals(directory: Path) -> dict[str, float]:
    """The counters now: ``requests``, ``client``, ``server``, and a cumulative count per upper edge in seconds."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    found = {"requests": 0.0, "client": 0.0, "server": 0.0}
    collector = MultiProcessCollector(CollectorRegistry(), str(directory))  # type: ignore[no-untyped-call]
    with reading(directory):
        metrics = list(collector.collect())  # type: ignore[no-untyped-call]
    for metric in metrics:
        for sample in metric.samples:
            labels = sample.labels
            if sample.name == f"{REQUESTS}_total" and labels["method"] == "POST":
                found["requests"] += sample.value
                kind = {"4": "client", "5": "server"}.get(labels["status"][:1])
                if kind:
                    found[kind] += sample.value
            elif sample.name == f"{SECONDS}_bucket" and labels["route"] in SCORING:
                found[labels["le"]] = found.get(labels["le"], 0.0) + sample.value
    return found


class RequestCounts:
    """One replica's file, ``<replica>.http.json`` in ``root``. The directory ``counters`` is new at each start of the replica."""

    def __init__(self, root: Path, replica: str, counters: Path) -> None:
        self.path = root / f"{replica}{SUFFIX}"
        self.replica = replica
        self.counters = counters

    def sample(self, now: float) -> None:
        """Add the growth since the last sample to the minute of ``now``. Raises :class:`OSError`."""
        kept = _read(self.path)
        found = totals(self.counters)
        last = kept.get("totals", {}) if kept.get("counters") == self.counters.name else {}
        # Before the first prediction there are no buckets; those from before the restart are the same.
        edges = sorted((name for name in found if name[0] in "0123456789+"), key=float) or kept.get("edges", [])
        if kept.get("edges") != edges:
            kept = {}
        names = ["requests", "client", "server", *edges]
        grown = [max(0, round(found.get(name, 0.0) - last.get(name, 0.0))) for name in names]
        minute = int(now // MINUTE)
        minutes = {m: row for m, row in kept.get("minutes", {}).items() if int(m) > minute - KEPT}
        before = minutes.get(str(minute), [0] * len(names))
        minutes[str(minute)] = [a + b for a, b in zip(before, grown, strict=True)]
        content = {"replica": self.replica, "counters": self.counters.name, "totals": found, "edges": edges}
        write(self.path, json.dumps({**content, "minutes": minutes}).encode(), private.FILE)


def merged(root: Path, now: float) -> dict[str, Any]:
    """The ``http`` of ``monitor.json``: the minutes of the last day, of all replicas. Removes older files."""
    last = int(now // MINUTE)
    minutes: dict[int, list[int]] = {}
    edges: list[str] = []
    replicas = []
    for path in sorted(root.glob(f"*{SUFFIX}")):
        kept = _read(path)
        own = {int(m): row for m, row in kept.get("minutes", {}).items() if last - KEPT < int(m) <= last}
        if not own:
            path.unlink(missing_ok=True)
            continue
        edges = edges or kept["edges"]
        if kept["edges"] != edges:  # replicas of another version, while they are being replaced
            continue
        replicas.append(kept["replica"])
        for minute, row in own.items():
            before = minutes.get(minute, [0] * len(row))
            minutes[minute] = [a + b for a, b in zip(before, row, strict=True)]
    uppers = [float(edge) for edge in edges]
    rows = [minutes.get(minute) for minute in range(last - KEPT + 1, last + 1)]
    return {
        "start": iso((last - KEPT + 1) * MINUTE, "seconds"),
        "step_seconds": MINUTE,
        "replicas": replicas,
        "requests": [row and row[0] for row in rows],
        "client_errors": [row and row[1] for row in rows],
        "server_errors": [row and row[2] for row in rows],
        "p50_ms": [row and quantile(0.50, uppers, row[_FACTS:]) for row in rows],
        "p99_ms": [row and quantile(0.99, uppers, row[_FACTS:]) for row in rows],
    }


def quantile(q: float, uppers: Sequence[float], counts: Sequence[int]) -> float | None:
    """A quantile in milliseconds from cumulative counts by upper edge in seconds, evenly spread within a bucket.

    As Prometheus' ``histogram_quantile``: of what is beyond the last finite edge, that edge is all that is known.
    """
    if not counts or not counts[-1]:
        return None
    wanted = q * counts[-1]
    at = next(i for i, count in enumerate(counts) if count >= wanted)
    low, below = (uppers[at - 1], counts[at - 1]) if at else (0.0, 0)
    if math.isinf(uppers[at]):
        return round(1000 * low, 2)
    return round(1000 * (low + (uppers[at] - low) * (wanted - below) / max(counts[at] - below, 1)), 2)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
