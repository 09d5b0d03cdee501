"""The replica's own state: whether it is alive and ready, and which model it has."""

from __future__ import annotations

import math
import time
from typing import Any

from flask import Blueprint, Response, jsonify

from modelbundle.durable import obstacle
from services.monitoring.summary import SummaryFile
from services.predict.api.responses import current, named
from services.predict.challenger.status import ChallengerStatus
from services.predict.rollout.instant.schedule import ScheduleFile
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.loaded_models import Models, NoModel
from services.predict.serving.prediction_log import PredictionLog
from services.web.timestamps import iso

STALE = 15.0  # seconds without news from the leader after which nothing is called confirmed


class Health:
    """Puts together the states of the leader, the models, the challenger, the disks and the log."""

    def __init__(
        self, store: StateDir, models: Models, standing: ChallengerStatus, summary: SummaryFile, log: PredictionLog
    ) -> None:
        self.store = store
        self.models = models
        self.standing = standing
        self.summary = summary
        self.log = log

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether this worker is ready, and the facts."""
        status, refused = self.store.status(), self.store.refused()
        facts: dict[str, Any] = {"ready": False, "model_version": None, "generation": 0, "name": None}
        why = None
        try:
            serving = self.models.current()
            facts["model_version"] = serving.model.version
            facts["generation"] = serving.generation.number
            facts["name"] = serving.model.manifest.name
        except NoModel as error:
            why = str(error)
        facts["ready"] = why is None
        fresh = 0 <= time.monotonic() - status.get("beat", math.inf) < STALE
        facts["confirmed"] = bool(why is None and fresh and status.get("confirmed"))
        facts["since"] = iso(status.get("since"), "milliseconds")
        facts["checked"] = iso(status.get("checked"), "milliseconds")
        facts["wanted"] = status.get("wanted")
        facts["serving"] = facts["model_version"]
        told = status.get("trouble") if fresh or not status else "the follower has not reported lately"
        disk = f"STATE_DIR: {found}" if (found := obstacle(self.store.root)) else ""
        facts["trouble"] = "; ".join(filter(None, (told, disk, self.log.trouble()))) or None
        facts["refusal"] = (
            {
                "model_version": refused["sha256"],
                "kind": refused.get("kind"),
                "reason": refused["reason"],
                "time": iso(refused["time"], "milliseconds"),
                "evidence": refused.get("evidence"),
            }
            if refused
            else None
        )
        probation = self.store.probation()
        facts["probation"] = (
            {"until": iso(probation.until, "milliseconds"), "fallback": probation.fallback} if probation else None
        )
        facts["hung"] = None
        if hung := self.store.last_hang():
            at = iso(hung["time"], "milliseconds")
            facts["hung"] = {"model_version": hung["sha256"], "reason": hung["reason"], "time": at}
        facts["gates"] = self.store.gates(facts["model_version"] or "")
        challenger = facts["challenger"] = self.standing.report(status.get("challenger"))
        if challenger:
            challenger["evidence"] = self.summary.evidence(facts["model_version"], challenger["model_version"])
        facts["chain"] = self.log.head()
        if (due := ScheduleFile(self.store).read()) and due.sha256 != self.store.current().sha256:
            facts["scheduled"] = due.facts()
            facts["trouble"] = "; ".join(filter(None, (facts["trouble"], due.trouble))) or None
        if why:
            facts["why_not"] = why
        return why is None, facts


def blueprint(health: Health) -> Blueprint:
    """The views of the replica's state."""
    views = Blueprint("health", __name__)

    @views.get("/healthz")
    def healthz() -> Response:
        """The process lives."""
        return jsonify(status="alive")

    @views.get("/readyz")
    def readyz() -> tuple[Response, int]:
        """A rehearsed model is answering."""
        ready, facts = health.report()
        return jsonify(facts), 200 if ready else 503

    @views.get("/model")
    def model() -> Response:
        """The current model's manifest, without its golden rows."""
        serving = current(health.models)
        document = {**serving.model.manifest.public(), "model_version": serving.model.version}
        return named(jsonify(document), serving)

    return views
