"""``GET /monitor.json`` and the gauges of drift: what the monitor wrote last, with what is true of this replica now.

Nothing is computed here. The monitor is a process of its own, which the workers keep alive: see :mod:`services.monitoring`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.monitoring import process
from services.predict.api.api_keys import authenticate
from services.predict.api.health import Health
from services.predict.serving.prediction_log import NONE
from services.predict.settings import Settings
from services.supervisor import Keeper

blueprint = Blueprint("watch", __name__)
STALE = 5  # rounds that may fail before what was computed is called stale


def keeper(settings: Settings) -> Keeper | None:
    """What keeps the monitor alive; None where nothing is logged."""
    if settings.prediction_log_url == NONE:
        return None
    return process.keeper(
        settings.data_dir,
        settings.state_dir,
        settings.prediction_log_url,
        settings.monitor_seconds,
        settings.monitor_days,
    )


class Watch(Collector):
    """Reads ``monitor.json`` of DATA_DIR, again when it was replaced."""

    def __init__(self, settings: Settings, health: Health) -> None:
        self.path = settings.data_dir / process.FILE
        self.logging = settings.prediction_log_url != NONE
        self.empty = process.empty(settings.monitor_seconds, settings.monitor_days)
        self.health = health
        self._kept: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})

    def written(self) -> dict[str, Any]:
        """What the monitor wrote last; an empty summary before that."""
        try:
            facts = os.stat(self.path)
            found = facts.st_ino, facts.st_mtime_ns  # the time alone is too coarse: some file systems count in seconds
            if found != self._kept[0]:
                self._kept = (found, json.loads(Path(self.path).read_bytes()))
        except (OSError, ValueError):
            return self.empty
        return self._kept[1]

    def now(self) -> dict[str, Any]:
        """``monitor.json`` with its age, this replica's state, and which of its models is the one that answers."""
        written = self.written()
        _, replica = self.health.report()
        computed = written["computed"]
        age = max(0.0, time.time() - datetime.fromisoformat(computed).timestamp()) if computed else None
        models = [{**model, "current": model["model_version"] == replica["serving"]} for model in written["models"]]
        current = next((model for model in models if model["current"]), None)
        waiting = {"status": "waiting", "text": "The model that answers has scored nothing in this time."}
        return {
            **written,
            "age_seconds": age,
            "stale": age is not None and age > STALE * written["every_seconds"],
            "logging": self.logging,
            "replica": replica,
            "verdict": {"status": current["status"], "text": current["text"]} if current else waiting,
            "models": models,
        }

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, of the model that answers; those that are not known have no sample."""
        now = self.now()
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


def _gauge(name: str, words: str, value: float | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"peerloan_{name}", words, value=value)


def _by_feature(name: str, words: str, features: list[dict[str, Any]], key: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"peerloan_{name}", words, labels=["feature"])
    for feature in features:
        if feature[key] is not None:
            family.add_metric([feature["name"]], feature[key])
    return family


def init_app(app: Flask, settings: Settings) -> None:
    """Add the view to ``app``."""
    app.extensions["watch"] = Watch(settings, app.extensions["health"])
    app.register_blueprint(blueprint)


@blueprint.get("/monitor.json")
def monitor() -> Response:
    """Traffic, drift and live performance, for the page and for programs; with keys, only for who has one."""
    if keys := current_app.extensions.get("keys"):
        authenticate(keys, request.environ)
    content = json.dumps(current_app.extensions["watch"].now())
    return Response(content, content_type="application/json", headers={"Cache-Control": "no-store"})
