"""Were the predictions right? Figures of the predictions with known outcomes, and the figures that were expected of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.evidence import Calibration, Evidence, log_loss_differences
from modelbundle.format.outcome import UNNAMED, Outcome
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
from services.monitoring.log_reader.model_versions import ModelVersions
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


Pair = tuple[str, str | None]  # a version and its challenger; None for the version's own rows


@dataclass
class OutcomesByVersion:
    """The outcomes that arrived up to ``after``, by version and by challenger."""

    after: str = ""
    labelled: dict[Pair, LabelledRows] = field(default_factory=dict)
    evidence: dict[Pair, Evidence] = field(default_factory=dict)  # from all rows, not from a sample

    def add(self, pair: Pair, rows: Sequence[Any], most: int) -> None:
        """Add rows, in the form that :meth:`LabelledRows.of` takes."""
        more = LabelledRows.of(rows)
        before = self.labelled.get(pair)
        self.labelled[pair] = before.merge(more, most) if before else more

    def weigh(self, pair: Pair, rows: Sequence[Any]) -> None:
        """Add rows to the evidence, in the order in which they became known: time, and what :meth:`LabelledRows.of` takes."""
        times, labels, _, _, probabilities, *others = zip(*rows, strict=True)
        observed, predicted = np.array(labels, dtype=np.int64), np.array(probabilities, dtype=np.float64)
        if others:
            beside = self.evidence.setdefault(pair, Evidence())
            beside.update(log_loss_differences(observed, predicted, np.array(others[0], dtype=np.float64)), times)
        else:
            own = self.evidence.setdefault(pair, Calibration())
            assert isinstance(own, Calibration)
            own.observe(observed, predicted, times)

    def copy(self) -> OutcomesByVersion:
        """The same, to go on with beside this one."""
        return OutcomesByVersion(self.after, dict(self.labelled), copy.deepcopy(self.evidence))


class Performance:
    """Reads new outcomes and keeps a sample of each version's predictions with known outcomes.

    All outcomes are read again, a page at a time, after a correction or an erasure, and once a day, because old predictions are
    left out. All attributes except ``log`` and ``models`` are plain data, so that another process can continue with them.
    """

    def __init__(
        self, log: PredictionLog, days: int, models: ModelVersions | None = None, most: int = MOST_ROWS
    ) -> None:
        self.log = log
        self.models = models
        self.days = days
        self.most = most
        self.page_size = PageSize(most=PAGE)
        self.versions: dict[str, LabelledRows] = {}
        self.compared: dict[tuple[str, str], LabelledRows] = {}
        self.evidence: dict[Pair, Evidence] = {}
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
            shown = self.settled.copy()
            self._read(shown, LAST, now, deadline)
        else:
            shown = self.settled
        if self.anew and self._read(self.anew, upto, now, deadline):
            self.settled, self.anew = self.anew, None
        latest = sorted(shown.labelled.items(), key=lambda item: item[1].until, reverse=True)
        self.versions = {own: labelled for (own, other), labelled in latest if other is None}
        self.evidence = shown.evidence
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
        for version, name, value, *row in self.log.labelled(to.after, end):
            if (label := self._outcome(version).label(name, value)) is not None:
                found.setdefault((version, None), []).append((row[0], label, *row[1:]))
        for version, other, name, value, *row in self.log.labelled_with_challenger(to.after, end):
            if (label := self._outcome(version).label(name, value)) is not None:
                found.setdefault((version, other), []).append((row[0], label, *row[1:]))
        for pair, known in found.items():
            to.weigh(pair, known)
            if recent := [row for _, *row in known if row[2] >= since]:
                to.add(pair, recent, self.most)
        to.after = end

    def _outcome(self, version: str) -> Outcome:
        return self.models.outcome(version) if self.models else UNNAMED

    def of(self, version: str, published: float | None) -> dict[str, Any] | None:
        """The figures of a version; None where no outcome is known."""
        labelled = self.versions.get(version)
        if labelled is None:
            return None
        return figures(labelled, labelled.probabilities, published) | {"evidence": self._calibration(version)}

    def _calibration(self, version: str) -> dict[str, Any] | None:
        """A CALIBRATION_EVIDENCE of ``monitor.json``."""
        found = self.evidence.get((version, None))
        if not isinstance(found, Calibration):
            return None
        low, high = found.ratio()
        facts = found.to_json("too_many", "too_few") | {"predicted_to_observed": {"low": low, "high": high}}
        return facts | {"text": sentences.calibration(facts)}

    def with_challenger(
        self, version: str, challenger: str, published: tuple[float | None, float | None]
    ) -> dict[str, Any]:
        """The figures of champion and challenger on the same rows, the difference of their ROC-AUCs, and the evidence for one of
        them."""
        labelled = self.compared.get((version, challenger))
        weighed = self.evidence.get((version, challenger))
        evidence = None
        if weighed is not None:
            evidence = weighed.to_json("challenger", "champion")
            evidence["text"] = sentences.evidence(evidence)
        if labelled is None or labelled.other is None:
            return {"champion": None, "challenger": None, "roc_auc_difference": None, "evidence": evidence}
        champion = figures(labelled, labelled.probabilities, published[0])
        other = figures(labelled, labelled.other, published[1])
        both = champion["roc_auc"] and other["roc_auc"]
        difference = (
            roc_auc_difference(labelled.labels, labelled.probabilities, labelled.other).to_json() if both else None
        )
        return {"champion": champion, "challenger": other, "roc_auc_difference": difference, "evidence": evidence}
