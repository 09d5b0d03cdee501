"""What the replica says of itself: alive, ready, and with which model."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify

from services.predict.challenger.status import Standing
from services.predict.rollout.state_dir import Store
from services.predict.serving.loaded_models import Models, NoModel
from services.web.problem import Refused

blueprint = Blueprint("health", __name__)
STALE = 15.0  # seconds without news from the leader after which nothing is called confirmed


class Health:
    """Reads what the leader and the models say."""

    def __init__(self, store: Store, models: Models, standing: Standing) -> None:
        self.store = store
        self.models = models
        self.standing = standing

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether this worker is ready, and the facts."""
        status, refused = self.store.status(), self.store.refused()
        facts: dict[str, Any] = {"ready": False, "model_version": None, "generation": 0, "name": None}
        why = None
        try:
            serving = self.models.current()
            facts["model_version"] = serving.held.model.version
            facts["generation"] = serving.generation.number
            facts["name"] = serving.held.model.manifest.name
        except NoModel as error:
            why = str(error)
        facts["ready"] = why is None
        fresh = 0 <= time.monotonic() - status.get("beat", math.inf) < STALE
        facts["confirmed"] = bool(why is None and fresh and status.get("confirmed"))
        facts["since"] = moment(status.get("since"))
        facts["checked"] = moment(status.get("checked"))
        facts["wanted"] = status.get("wanted")
        facts["serving"] = facts["model_version"]
        facts["trouble"] = status.get("trouble") if fresh or not status else "the follower has not reported lately"
        facts["refusal"] = (
            {"model_version": refused["sha256"], "reason": refused["reason"], "time": moment(refused["time"])}
            if refused
            else None
        )
        facts["challenger"] = self.standing.report(status.get("challenger"))
        if why:
            facts["why_not"] = why
        return why is None, facts


def init_app(app: Flask, health: Health) -> None:
    """Add the views to ``app``."""
    app.extensions["health"] = health
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process lives."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """A rehearsed model is answering."""
    ready, facts = current_app.extensions["health"].report()
    return jsonify(facts), 200 if ready else 503


@blueprint.get("/model")
def model() -> Response:
    """The current model's manifest, without its golden rows."""
    try:
        serving = current_app.extensions["health"].models.current()
    except NoModel as error:
        raise Refused(503, f"No model can answer now: {error}.", headers={"Retry-After": "1"}) from None
    response = jsonify({**serving.held.model.manifest.public(), "model_version": serving.held.model.version})
    response.headers["X-Model-Version"] = serving.held.model.version
    response.headers["X-Model-Generation"] = str(serving.generation.number)
    return response


def moment(seconds: float | None) -> str | None:
    """A Unix time as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
