"""The state of a replica now, as gauges that are made at each scrape: the model, the switch, the log's spool, drift.

Unlike counts they belong to no process: whichever worker is asked reads them from the files that all of them share. And a label
that was true before, as the version of an older model, is gone with the next scrape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.predict.rollout.state_dir import StateDir
from services.predictionlog import spool
from services.predictionlog.shipper import DAMAGED


class ReplicaGauges(Collector):
    """The model, the switch, the challenger and the spool. ``health`` gives what ``/readyz`` says.

    ``root`` is the spool's folder, ``limit`` its bound in bytes.
    """

    def __init__(
        self, store: StateDir, health: Callable[[], tuple[bool, dict[str, Any]]], root: Path, limit: int
    ) -> None:
        self.store = store
        self.health = health
        self.root = root
        self.limit = limit

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, now."""
        ready, facts = self.health()
        refusal, wanted = facts["refusal"], facts["wanted"]
        refused = bool(refusal and refusal["model_version"] == wanted != facts["model_version"])
        yield _gauge("model_ready", "1 if a rehearsed model answers", ready)
        yield _gauge("model_confirmed", "1 if the model service confirms the model that answers", facts["confirmed"])
        yield _gauge("model_refused", "1 if the model that is wanted was refused", refused)
        yield _gauge(
            "model_on_probation", "1 while the model before is ready to take over again", facts["probation"] is not None
        )
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
        damaged = len(spool.named(self.root, DAMAGED))
        yield _gauge("log_damaged_segments", "Segments with lines that the database does not take", damaged)


class MonitorGauges(Collector):
    """Drift and live performance of the model that answers. ``report`` gives ``monitor.json`` as it is now."""

    def __init__(self, report: Callable[[], dict[str, Any]]) -> None:
        self.report = report

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, of the model that answers; those that are not known have no sample."""
        now = self.report()
        model: dict[str, Any] = next((model for model in now["models"] if model["current"]), {})
        features = model.get("features", [])
        score, live = model.get("score") or {}, model.get("performance") or {}
        yield _by_feature("drift_psi", "Population stability index of a feature against training", features, "psi")
        yield _by_feature("drift_effect_log_odds", "What that does to the mean score, in log-odds", features, "effect")
        alert = GaugeMetricFamily(
            "peerloan_drift_alert", "1 if a feature drifted, tested and large", labels=["feature"]
        )
        for feature in features:
            alert.add_metric([feature["name"]], float(feature["status"] == "drifted"))
        yield alert
        judged = score.get("status") not in (None, "waiting")
        yield _gauge("score_psi", "Population stability index of the score against training", score.get("psi"))
        yield _gauge("score_alert", "1 if the score drifted", float(score["status"] == "drifted") if judged else None)
        yield _gauge("expected_rate", "Mean probability of the rows", model.get("expected_rate"))
        yield _gauge("reference_rate", "Rate that was observed in training", model.get("reference_rate"))
        area = (live.get("roc_auc") or {}).get("value")
        yield _gauge("live_roc_auc", "ROC-AUC of the predictions whose outcome is known", area)
        yield _gauge("estimated_roc_auc", "ROC-AUC to expect before outcomes", model.get("estimated_roc_auc"))
        ratio = live.get("predicted_to_observed") or {}
        yield _gauge("live_predicted_to_observed", "Mean probability over the observed rate", ratio.get("value"))
        yield _gauge("live_predicted_to_observed_low", "The lower end of its interval", ratio.get("low"))
        yield _gauge("live_predicted_to_observed_high", "The upper end of its interval", ratio.get("high"))
        yield _gauge("monitor_rows", "Rows of the model that were looked into", model.get("sampled"))
        age = now["age_seconds"]
        computed = None if age is None else time.time() - age
        yield _gauge("monitor_computed_timestamp_seconds", "When drift was computed last (Unix time)", computed)


def _challenger(facts: dict[str, Any] | None) -> Iterator[GaugeMetricFamily]:
    """How the challenger compares with the champion since it was set; no samples without one."""
    facts = facts or {}
    share = facts["share"] if facts.get("answers") else 0.0
    yield _gauge("challenger_share", "Percentage of the records that the challenger answers; 0 without one", share)
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


def _gauge(name: str, words: str, value: float | None) -> GaugeMetricFamily:
    """A gauge; one without a value has no sample."""
    return GaugeMetricFamily(f"peerloan_{name}", words, value=None if value is None else float(value))


def _by_feature(name: str, words: str, features: list[dict[str, Any]], key: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"peerloan_{name}", words, labels=["feature"])
    for feature in features:
        if feature[key] is not None:
            family.add_metric([feature["name"]], feature[key])
    return family
