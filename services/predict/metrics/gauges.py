"""What is true of a replica now, as gauges that are made at each scrape: the model, the switch, the log's spool.

Unlike counts they belong to no process: whichever worker is asked reads them from the files that all of them share. And a label
that was true before, as the version of an older model, is gone with the next scrape.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.predict.api.health import Health
from services.predict.rollout.state_dir import Store
from services.predictionlog import spool
from services.predictionlog.shipper import DAMAGED


class Facts(Collector):
    """Reads them. ``root`` is the spool's, ``limit`` its bound in bytes."""

    def __init__(self, store: Store, health: Health, root: Path, limit: int) -> None:
        self.store = store
        self.health = health
        self.root = root
        self.limit = limit

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, now."""
        ready, facts = self.health.report()
        refusal, wanted = facts["refusal"], facts["wanted"]
        refused = bool(refusal and refusal["model_version"] == wanted != facts["model_version"])
        yield _gauge("model_ready", "1 if a rehearsed model answers", ready)
        yield _gauge("model_confirmed", "1 if the model service confirms the model that answers", facts["confirmed"])
        yield _gauge("model_refused", "1 if the model that is wanted was refused", refused)
        yield _gauge("model_generation", "The current switch's number", facts["generation"])
        about = GaugeMetricFamily("peerloan_model_info", "The model that answers", labels=["version", "name"])
        switched = GaugeMetricFamily("peerloan_model_switched_timestamp_seconds", "When it was switched to (Unix time)")
        if ready:
            about.add_metric([facts["model_version"], facts["name"]], 1)
            switched.add_metric([], self.store.switched() / 1e9)
        yield about
        yield switched
        yield from _challenger(facts["challenger"])
        oldest = spool.oldest(self.root)
        lag = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        yield _gauge("log_spool_bytes", "What waits for the database", spool.size(self.root))
        yield _gauge("log_spool_limit_bytes", "Beyond it predictions are not logged", self.limit)
        yield _gauge("log_spool_seconds", "How long the oldest of it waits", lag)
        damaged = sum(1 for _ in self.root.glob(f"*/*{DAMAGED}"))
        yield _gauge("log_damaged_segments", "Segments with lines that the database does not take", damaged)


def _challenger(facts: dict[str, Any] | None) -> Iterator[GaugeMetricFamily]:
    """Where there is one, how it does beside the champion, since it was set."""
    facts = facts or {}
    yield _gauge("challenger_scoring", "1 if a challenger is scored", facts.get("state") == "scoring")
    yield _gauge("challenger_refused", "1 if the challenger was refused", facts.get("state") == "refused")
    rows = GaugeMetricFamily("peerloan_challenger_rows", "Rows by what the challenger did with them", labels=["result"])
    for name in ("scored", "misfits", "dropped"):
        if name in facts:
            rows.add_metric([name], facts[name])
    yield rows
    for name, words in (
        ("same_band", "Share of rows to which the challenger gives the champion's band"),
        ("mean_difference", "Mean difference of its probabilities to the champion's, without sign"),
    ):
        family = GaugeMetricFamily(f"peerloan_challenger_{name}", words)
        if facts.get(name) is not None:
            family.add_metric([], facts[name])
        yield family


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"peerloan_{name}", words, value=float(value))
