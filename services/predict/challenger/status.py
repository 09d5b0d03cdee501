"""The challenger's status for the workers: what its process wrote, compared with the pin that the leader saw."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbundle.model import Model
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import NO_LOG, Settings
from services.predictionlog.challenger_queue import Queue
from services.web.timestamps import iso

STALE = 15.0  # seconds without news from the challenger's process after which the process counts as gone
LOCK = "challenger.lock"
OFF = "PREDICTION_LOG_URL is none: nothing is logged, so there is nothing to score"


def place(settings: Settings) -> Path:
    """Where the challenger's process keeps its files. They are disposable."""
    return settings.data_dir / "challenger"


@dataclass(slots=True)
class Comparison:
    """The challenger's probabilities compared with the champion's: counts of rows, and the sum of the absolute differences."""

    scored: int = 0
    misfits: int = 0
    banded: int = 0  # rows with a band of both
    same_band: int = 0
    difference: float = 0.0

    def add(self, model: Model, rows: Sequence[dict[str, Any]], found: Sequence[float | None]) -> None:
        """Count rows of the log, with the challenger's probability of each; None where the row does not fit it."""
        for row, probability in zip(rows, found, strict=True):
            if probability is None:
                self.misfits += 1
                continue
            self.scored += 1
            self.difference += abs(probability - row["probability"])
            band = model.band(probability)
            if band is not None and row["band"] is not None:
                self.banded += 1
                self.same_band += band == row["band"]

    def figures(self) -> dict[str, Any]:
        """What ``/readyz`` says: ``same_band`` is a share of the rows with two bands, ``mean_difference`` is absolute."""
        return {
            "scored": self.scored,
            "misfits": self.misfits,
            "same_band": round(self.same_band / self.banded, 6) if self.banded else None,
            "mean_difference": round(self.difference / self.scored, 9) if self.scored else None,
        }


class ChallengerStatus:
    """Reads ``DATA_DIR/challenger``. ``wanted`` is the id of the pin that the leader saw; None where no challenger is pinned."""

    def __init__(self, settings: Settings, share: StateDir | None = None) -> None:
        self.share = share
        self.logs = settings.prediction_log_url != NO_LOG
        self.lock = settings.data_dir / LOCK
        self.place = place(settings)
        self.queue = Queue(self.place / "queue")
        self._store: StateDir | None = None

    def calls(self, wanted: str | None) -> bool:
        """Whether a process is needed: to score a challenger, or to remove what an earlier one left."""
        store = self._found()
        refused = store.refused() if store else None
        return self.queue.is_open() or (wanted is not None and (refused is None or refused["id"] != wanted))

    def report(self, wanted: str | None) -> dict[str, Any] | None:
        """What ``/readyz`` says: :meth:`silent`, and :meth:`sharing`; None where no challenger is pinned."""
        found = self.silent(wanted)
        return None if found is None else {**found, **self.sharing(wanted)}

    def sharing(self, wanted: str | None) -> dict[str, Any]:
        """``share``: the percentage of the pin; ``answers``: whether the challenger answers it; ``share_why_not``: why not.

        ``share_refused`` is when this pin's share was refused, or taken back on probation.
        """
        if self.share is None:
            return {"share": 0.0, "answers": False, "share_why_not": None, "share_refused": None}
        status, refused, current = self.share.status(), self.share.refused(), self.share.current()
        heard = status.get("challenger") == wanted
        share = (status.get("share") or 0.0) if heard else None
        answers = bool(share and current.sha256 == status.get("wanted") and current.share == share)
        why, since = status.get("trouble"), None
        if refused and refused["id"] == wanted:
            why, since = f"{refused.get('kind')}: {refused['reason']}", iso(refused["time"], "milliseconds")
        why = None if answers or share == 0 else why
        return {"share": share, "answers": answers, "share_why_not": why, "share_refused": since}

    def silent(self, wanted: str | None) -> dict[str, Any] | None:
        """What ``/readyz`` says: version, state (off, starting, fetching, rehearsing, scoring, refused), why not, and figures."""
        if wanted is None:
            return None
        facts: dict[str, Any] = {"model_version": None, "state": "starting", "why_not": None, "since": None}
        if not self.logs:
            return {**facts, "state": "off", "why_not": OFF}
        store = self._found()
        refused, status = (store.refused(), store.status()) if store else (None, {})
        if refused and refused["id"] == wanted:
            own = {"model_version": refused["sha256"], "state": "refused", "why_not": refused["reason"]}
            return {**facts, **own, "since": iso(refused["time"], "milliseconds")}
        if status.get("id") != wanted or not 0 <= time.monotonic() - status.get("beat", math.inf) < STALE:
            return facts
        facts.update(model_version=status["sha256"], state=status["state"], why_not=status["trouble"])
        facts["since"] = iso(status["since"], "milliseconds")
        return {
            **facts,
            "warnings": status.get("warnings", []),
            **Comparison(**status["tally"]).figures(),
            "dropped": self.queue.dropped(),
            "waiting_bytes": self.queue.size(),
        }

    def _found(self) -> StateDir | None:
        """The directory that the process made; None before the first process."""
        if self._store is None and self.place.is_dir():
            self._store = StateDir(self.place)
        return self._store
