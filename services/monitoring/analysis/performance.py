"""Were the predictions right? Figures of the predictions with known outcomes, and the figures that were expected of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.statistics import (
    calibration_curve,
    calibration_line,
    estimated_roc_auc,
    lift,
    predicted_to_observed,
    roc_auc,
    roc_auc_difference,
)
from services.monitoring.analysis import sentences
from services.monitoring.log_reader.paging import PageSize
from services.monitoring.log_reader.queries import LabelledRows, PredictionLog, edge
from services.monitoring.summary import DAY

MOST_ROWS = 20_000
FEWEST = 10  # outcomes of each kind; with fewer there are no figures
LATE = 60  # seconds after which an outcome is in the log, with the clocks of several hosts
PAGE = 20_000  # outcomes in a page; each takes a look-up of its prediction
LAST = "9999"  # after all times

Floats = NDArray[np.float64]


def figures(labelled: LabelledRows, probabilities: Floats, published: float | None) -> dict[str, Any]:
    """A PERFORMANCE of ``monitor.json``, for the champion's or the challenger's ``probabilities`` of the labelled rows."""
    labels = labelled.labels
    facts: dict[str, Any] = {
        "outcomes": labelled.total,
        "sampled": len(labels),
        "positives": int(labels.sum()),
        "observed_rate": float(labels.mean()),
        "expected_rate": float(probabilities.mean()),
        "since": labelled.since,
        "until": labelled.until,
        "roc_auc": None,
        "estimated_roc_auc": estimated_roc_auc(probabilities),
        "published_roc_auc": published,
        "predicted_to_observed": None,
        "calibration_intercept": None,
        "calibration_slope": None,
        "lift_top_decile": None,
        "curve": [asdict(point) for point in calibration_curve(labels, probabilities)],
    }
    if FEWEST <= labels.sum() <= len(labels) - FEWEST:
        facts["roc_auc"] = roc_auc(labels, probabilities).to_json()
        facts["predicted_to_observed"] = predicted_to_observed(labels, probabilities).to_json()
        facts["lift_top_decile"] = lift(labels, probabilities).to_json()
        if line := calibration_line(labels, probabilities):
            facts["calibration_intercept"], facts["calibration_slope"] = (part.to_json() for part in line)
    facts["text"] = sentences.performance(facts)
    return facts


def published_roc_auc(metrics: Mapping[str, Any]) -> float | None:
    """The ROC-AUC that a model was published with: ``roc_auc`` in the manifest's metrics, or in the first group that has it."""
    for group in (metrics, *(value for value in metrics.values() if isinstance(value, dict))):
        found = group.get("roc_auc")
        found = found.get("value") if isinstance(found, dict) else found
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return float(found)
    return None


Pair = tuple[str, str | None]  # a version and its challenger; None for the version's own rows


@dataclass
class OutcomesByVersion:
    """The outcomes that arrived up to ``after``, by version and by challenger."""

    after: str = ""
    labelled: dict[Pair, LabelledRows] = field(default_factory=dict)

    def add(self, pair: Pair, rows: Sequence[Any], most: int) -> None:
        """Add rows, in the form that :meth:`LabelledRows.of` takes."""
        more = LabelledRows.of(rows)
        before = self.labelled.get(pair)
        self.labelled[pair] = before.merge(more, most) if before else more


class Performance:
    """Reads new outcomes and keeps a sample of each version's predictions with known outcomes.

    All outcomes are read again, a page at a time, after a correction or an erasure, and once a day, because old predictions are
    left out. All attributes except ``log`` are plain data, so that another process can continue with them.
    """

    def __init__(self, log: PredictionLog, days: int, most: int = MOST_ROWS) -> None:
        self.log = log
        self.days = days
        self.most = most
        self.page_size = PageSize(most=PAGE)
        self.versions: dict[str, LabelledRows] = {}
        self.compared: dict[tuple[str, str], LabelledRows] = {}
        self.settled = OutcomesByVersion()  # all up to its time have arrived in the log
        self.anew: OutcomesByVersion | None = None
        self.of_day: int | None = None
        self.last_rewrites: tuple[int | None, ...] = ()

    def update(self, now: float, seconds: float = float("inf")) -> None:
        """Read outcomes for about ``seconds``, one page at least. Raises what :class:`PredictionLog` raises."""
        deadline = time.monotonic() + seconds
        upto = edge(now - LATE)
        self._renew(now)
        if self._read(self.settled, upto, now, deadline):
            shown = OutcomesByVersion(self.settled.after, dict(self.settled.labelled))
            self._read(shown, LAST, now, deadline)
        else:
            shown = self.settled
        if self.anew and self._read(self.anew, upto, now, deadline):
            self.settled, self.anew = self.anew, None
        latest = sorted(shown.labelled.items(), key=lambda item: item[1].until, reverse=True)
        self.versions = {own: labelled for (own, other), labelled in latest if other is None}
        self.compared = {(own, other): labelled for (own, other), labelled in latest if other is not None}

    def _renew(self, now: float) -> None:
        """Begin to read all outcomes again, where that is due."""
        last_rewrites, day = self.log.last_rewrites(), int(now // DAY)
        if (last_rewrites, day) != (self.last_rewrites, self.of_day):
            self.anew = OutcomesByVersion() if self.of_day is not None else None
            self.last_rewrites, self.of_day = last_rewrites, day

    def _read(self, to: OutcomesByVersion, upto: str, now: float, deadline: float) -> bool:
        """Read outcomes up to a time; True where all have been read."""
        while to.after < upto:
            self.page_size.ask(lambda rows: self._page(to, upto, now, rows))
            if time.monotonic() > deadline:
                break
        return to.after >= upto

    def _page(self, to: OutcomesByVersion, upto: str, now: float, rows: int) -> None:
        end = self.log.outcome_page(to.after, upto, rows)
        since = edge(now - self.days * DAY)
        found: dict[Pair, list[Any]] = {}
        for version, *row in self.log.labelled(to.after, end):
            if row[1] >= since:
                found.setdefault((version, None), []).append(row)
        for version, other, *row in self.log.labelled_with_challenger(to.after, end):
            if row[1] >= since:
                found.setdefault((version, other), []).append(row)
        for pair, labelled in found.items():
            to.add(pair, labelled, self.most)
        to.after = end

    def of(self, version: str, published: float | None) -> dict[str, Any] | None:
        """The figures of a version; None where no outcome is known."""
        labelled = self.versions.get(version)
        return figures(labelled, labelled.probabilities, published) if labelled else None

    def with_challenger(
        self, version: str, challenger: str, published: tuple[float | None, float | None]
    ) -> dict[str, Any]:
        """The figures of champion and challenger on the same rows, and the difference of their ROC-AUCs."""
        labelled = self.compared.get((version, challenger))
        if labelled is None or labelled.other is None:
            return {"champion": None, "challenger": None, "roc_auc_difference": None}
        champion = figures(labelled, labelled.probabilities, published[0])
        other = figures(labelled, labelled.other, published[1])
        both = champion["roc_auc"] and other["roc_auc"]
        difference = (
            roc_auc_difference(labelled.labels, labelled.probabilities, labelled.other).to_json() if both else None
        )
        return {"champion": champion, "challenger": other, "roc_auc_difference": difference}
