"""Where the challenger stands, for the workers: what its process wrote, compared with what the leader heard is wanted."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.predict.rollout.state_dir import StateDir
from services.predict.serving.prediction_log import NONE
from services.predict.settings import Settings
from services.predictionlog.challenger_queue import Queue
from services.supervisor import Keeper

STALE = 15.0  # seconds without news from the challenger's process after which it is taken for gone
LOCK = "challenger.lock"
OFF = "PREDICTION_LOG_URL is none: nothing is logged, so there is nothing to score"


def place(settings: Settings) -> Path:
    """Where the challenger's process keeps its files; disposable, but for the sequence of statements beside it."""
    return settings.data_dir / "challenger"


class ChallengerStatus:
    """Reads ``DATA_DIR/challenger``. ``wanted`` is the identity of the pin that the leader heard of; None where there is none."""

    def __init__(self, settings: Settings) -> None:
        self.logs = settings.prediction_log_url != NONE
        self.lock = settings.data_dir / LOCK
        self.place = place(settings)
        self.queue = Queue(self.place / "queue")
        self._store: StateDir | None = None

    def calls(self, wanted: str | None) -> bool:
        """Whether a process is called for: there is a challenger to score, or one to clear away."""
        store = self._found()
        refused = store.refused() if store else None
        return self.queue.is_open() or (wanted is not None and (refused is None or refused["id"] != wanted))

    def report(self, wanted: str | None) -> dict[str, Any] | None:
        """Facts for people: version, state (off, starting, fetching, rehearsing, scoring, refused), why not, and how it does."""
        if wanted is None:
            return None
        facts: dict[str, Any] = {"model_version": None, "state": "starting", "why_not": None, "since": None}
        if not self.logs:
            return {**facts, "state": "off", "why_not": OFF}
        store = self._found()
        refused, status = (store.refused(), store.status()) if store else (None, {})
        if refused and refused["id"] == wanted:
            own = {"model_version": refused["sha256"], "state": "refused", "why_not": refused["reason"]}
            return {**facts, **own, "since": _moment(refused["time"])}
        if status.get("id") != wanted or not 0 <= time.monotonic() - status.get("beat", math.inf) < STALE:
            return facts
        facts.update(model_version=status["sha256"], state=status["state"], why_not=status["trouble"])
        facts["since"] = _moment(status["since"])
        return {
            **facts,
            **_figures(status["tally"]),
            "dropped": self.queue.dropped(),
            "waiting_bytes": self.queue.size(),
        }

    def _found(self) -> StateDir | None:
        """What the process made; None before the first."""
        if self._store is None and self.place.is_dir():
            self._store = StateDir(self.place)
        return self._store

    def keeper(self, champion: StateDir) -> Keeper | None:
        """Keeps the challenger's process alive while one is called for; None where nothing is logged."""
        if not self.logs:
            return None
        return Keeper(
            self.lock,
            "services.predict.challenger.process",
            wanted=lambda: self.calls(champion.status().get("challenger")),
        )


def _figures(tally: dict[str, float]) -> dict[str, Any]:
    """``same_band`` is the share of rows with a band of both; ``mean_difference`` is of probabilities, without sign."""
    scored, banded = tally["scored"], tally["banded"]
    return {
        "scored": scored,
        "misfits": tally["misfits"],
        "same_band": round(tally["same_band"] / banded, 6) if banded else None,
        "mean_difference": round(tally["difference"] / scored, 9) if scored else None,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
