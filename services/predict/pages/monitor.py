"""``GET /monitor`` and ``GET /monitor.json``: what the monitor wrote last, with the state of this replica now.

Nothing is computed here. The monitor is a process of its own, which the workers keep alive: see :mod:`services.monitoring`.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request

from services.monitoring import unseen
from services.monitoring.summary import SummaryFile
from services.predict.api.api_keys import AUDIT, Keys, authenticate, has_role
from services.predict.api.health import Health
from services.predict.pages import rendering
from services.predict.serving.loaded_models import Models
from services.predict.settings import NO_LOG, Settings

STALE = 5  # rounds that may fail before what was computed is called stale


class MonitorReport:
    """What the monitor wrote last, with the state of this replica."""

    def __init__(self, settings: Settings, health: Health, file: SummaryFile) -> None:
        self.logging = settings.prediction_log_url != NO_LOG
        self.file = file
        self.health = health

    def now(self) -> dict[str, Any]:
        """``monitor.json`` with its age, this replica's state, and which of its models is the one that answers."""
        written = self.file.read()
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


def blueprint(report: MonitorReport, models: Models, keys: Keys | None) -> Blueprint:
    """The page and its numbers; with ``keys``, the numbers are only for callers that have a key.

    A value that training never saw is only for those whose key has the role :data:`AUDIT`.
    """
    views = Blueprint("monitor", __name__)

    @views.get("/monitor")
    def show() -> Response:
        """The page. It is there while no model answers, too: that is when people look."""
        return rendering.page("monitor.html", "monitor", rendering.serving_now(models))

    @views.get("/monitor.json")
    def numbers() -> Response:
        """Traffic, drift and live performance, for the page and for programs."""
        if keys is not None:
            authenticate(keys, request.environ)
        shown = unseen.with_values if has_role(keys, request.environ, AUDIT) else unseen.without_values
        return Response(
            json.dumps(shown(report.now())), content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    return views
