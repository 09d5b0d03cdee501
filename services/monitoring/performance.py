"""Were the predictions right? Figures for those whose outcome is known, beside what was to be expected of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.monitoring import words
from services.monitoring.reading import Judged, Log
from services.monitoring.statistics import (
    calibration_curve,
    calibration_line,
    estimated_roc_auc,
    lift,
    predicted_to_observed,
    roc_auc,
    roc_auc_difference,
)
from services.monitoring.summary import DAY

MOST_ROWS = 20_000
FEWEST = 10  # outcomes of each kind; with fewer, no figure is given
BUSY = 20.0  # times as long as it took to compute is waited before it is computed again

Floats = NDArray[np.float64]


def figures(judged: Judged, probabilities: Floats, published: float | None) -> dict[str, Any]:
    """A PERFORMANCE of ``monitor.json``, for the champion's or the challenger's ``probabilities`` of the judged rows."""
    labels = judged.labels
    facts: dict[str, Any] = {
        "outcomes": judged.total,
        "sampled": len(labels),
        "positives": int(labels.sum()),
        "observed_rate": float(labels.mean()),
        "expected_rate": float(probabilities.mean()),
        "since": judged.since,
        "until": judged.until,
        "roc_auc": None,
        "estimated_roc_auc": estimated_roc_auc(probabilities),
        "published_roc_auc": published,
        "predicted_to_observed": None,
        "calibration_intercept": None,
        "calibration_slope": None,
        "lift_top_decile": None,
        "curve": calibration_curve(labels, probabilities),
    }
    if FEWEST <= labels.sum() <= len(labels) - FEWEST:
        facts["roc_auc"] = roc_auc(labels, probabilities).to_json()
        facts["predicted_to_observed"] = predicted_to_observed(labels, probabilities).to_json()
        facts["lift_top_decile"] = lift(labels, probabilities).to_json()
        if line := calibration_line(labels, probabilities):
            facts["calibration_intercept"], facts["calibration_slope"] = (part.to_json() for part in line)
    facts["text"] = words.performance(facts)
    return facts


def published_roc_auc(metrics: Mapping[str, Any]) -> float | None:
    """The ROC-AUC that a model was published with: ``roc_auc`` in the manifest's metrics, or in the first group that has it."""
    for group in (metrics, *(value for value in metrics.values() if isinstance(value, dict))):
        found = group.get("roc_auc")
        found = found.get("value") if isinstance(found, dict) else found
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return float(found)
    return None


class Performance:
    """Keeps the figures of each version, and computes them anew when outcomes came, but not all the time."""

    def __init__(self, log: Log, days: int, most: int = MOST_ROWS) -> None:
        self.log = log
        self.days = days
        self.most = most
        self.versions: dict[str, Judged] = {}
        self.compared: dict[tuple[str, str], Judged] = {}
        self._seen: tuple[int, str | None] = (0, None)
        self._not_before = 0.0

    def update(self, now: float, pairs: Mapping[str, list[str]]) -> None:
        """Read the outcomes; ``pairs`` are the challengers of each version. Raises what :class:`Log` does."""
        seen = self.log.outcomes_seen()
        if seen == self._seen or time.monotonic() < self._not_before:
            return
        began = time.monotonic()
        since = now - self.days * DAY
        self.versions, self.compared = {}, {}
        for version in self.log.judged_versions(since):
            if judged := self.log.judged(version, since, self.most):
                self.versions[version] = judged
            for challenger in pairs.get(version, []):
                if both := self.log.judged_challenge(version, challenger, since, self.most):
                    self.compared[version, challenger] = both
        self._seen = seen
        self._not_before = time.monotonic() + BUSY * (time.monotonic() - began)

    def of(self, version: str, published: float | None) -> dict[str, Any] | None:
        """The figures of a version; None where no outcome is known."""
        judged = self.versions.get(version)
        return figures(judged, judged.probabilities, published) if judged else None

    def beside(self, version: str, challenger: str, published: tuple[float | None, float | None]) -> dict[str, Any]:
        """Champion and challenger on the same rows."""
        judged = self.compared.get((version, challenger))
        if judged is None or judged.other is None:
            return {"champion": None, "challenger": None, "roc_auc_difference": None}
        champion = figures(judged, judged.probabilities, published[0])
        other = figures(judged, judged.other, published[1])
        both = champion["roc_auc"] and other["roc_auc"]
        difference = roc_auc_difference(judged.labels, judged.probabilities, judged.other).to_json() if both else None
        return {"champion": champion, "challenger": other, "roc_auc_difference": difference}
