"""Were the predictions right? Figures for those whose outcome is known, beside what was to be expected of them."""

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
from services.monitoring.log_reader.paging import Pace
from services.monitoring.log_reader.queries import Judged, Log, edge
from services.monitoring.summary import DAY

MOST_ROWS = 20_000
FEWEST = 10  # outcomes of each kind; with fewer, no figure is given
LATE = 60  # seconds after which an outcome is in the log, whichever host's clock it has
PAGE = 20_000  # outcomes that a question looks at; each is one look for its prediction
LAST = "9999"  # after all times

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


Pair = tuple[str, str | None]  # a version, and who scored its rows beside it


@dataclass
class Outcomes:
    """Outcomes by version, of all that came up to ``after``."""

    after: str = ""
    judged: dict[Pair, Judged] = field(default_factory=dict)

    def add(self, pair: Pair, rows: Sequence[Any], most: int) -> None:
        """Take in rows as :meth:`Judged.of` does."""
        more = Judged.of(rows)
        before = self.judged.get(pair)
        self.judged[pair] = before.and_(more, most) if before else more


class Performance:
    """Knows the outcomes of each version's predictions, and reads those that are new.

    All are read again, a little at a time, when some were corrected or erased, and each day, since old predictions do not count.
    All but ``log`` is plain data: another process may go on with it.
    """

    def __init__(self, log: Log, days: int, most: int = MOST_ROWS) -> None:
        self.log = log
        self.days = days
        self.most = most
        self.pace = Pace(most=PAGE)
        self.versions: dict[str, Judged] = {}
        self.compared: dict[tuple[str, str], Judged] = {}
        self.settled = Outcomes()  # no other is on its way to the log
        self.anew: Outcomes | None = None
        self.of_day: int | None = None
        self.rewritten: tuple[int | None, ...] = ()

    def update(self, now: float, seconds: float = float("inf")) -> None:
        """Read the outcomes for about ``seconds`` at most, a page at least. Raises what :class:`Log` does."""
        deadline = time.monotonic() + seconds
        upto = edge(now - LATE)
        self._renew(now)
        if self._read(self.settled, upto, now, deadline):
            shown = Outcomes(self.settled.after, dict(self.settled.judged))
            self._read(shown, LAST, now, deadline)
        else:
            shown = self.settled
        if self.anew and self._read(self.anew, upto, now, deadline):
            self.settled, self.anew = self.anew, None
        latest = sorted(shown.judged.items(), key=lambda item: item[1].until, reverse=True)
        self.versions = {own: judged for (own, other), judged in latest if other is None}
        self.compared = {(own, other): judged for (own, other), judged in latest if other is not None}

    def _renew(self, now: float) -> None:
        """Begin to read all outcomes again where that is due."""
        rewritten, day = self.log.rewritten(), int(now // DAY)
        if (rewritten, day) != (self.rewritten, self.of_day):
            self.anew = Outcomes() if self.of_day is not None else None
            self.rewritten, self.of_day = rewritten, day

    def _read(self, to: Outcomes, upto: str, now: float, deadline: float) -> bool:
        """Whether all up to there were read."""
        while to.after < upto:
            self.pace.ask(lambda rows: self._page(to, upto, now, rows))
            if time.monotonic() > deadline:
                break
        return to.after >= upto

    def _page(self, to: Outcomes, upto: str, now: float, rows: int) -> None:
        end = self.log.outcome_page(to.after, upto, rows)
        since = edge(now - self.days * DAY)
        found: dict[Pair, list[Any]] = {}
        for version, *row in self.log.judged(to.after, end):
            if row[1] >= since:
                found.setdefault((version, None), []).append(row)
        for version, other, *row in self.log.judged_beside(to.after, end):
            if row[1] >= since:
                found.setdefault((version, other), []).append(row)
        for pair, judged in found.items():
            to.add(pair, judged, self.most)
        to.after = end

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
