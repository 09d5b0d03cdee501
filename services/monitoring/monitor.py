"""The summary: one object, the content of ``monitor.json`` and of a report. ``docs/monitoring.md`` describes it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelbundle.statistics import estimated_roc_auc
from services.monitoring.analysis import drift, sentences
from services.monitoring.analysis.performance import Performance
from services.monitoring.analysis.traffic import RowCount, series
from services.monitoring.log_reader.hours import HOUR_ROWS, Hours
from services.monitoring.log_reader.model_versions import ModelVersion, ModelVersions, UnknownVersion, published_roc_auc
from services.monitoring.log_reader.queries import NoLog, PredictionLog
from services.monitoring.log_reader.sampling import PooledSample
from services.monitoring.summary import DAY, HOUR, LEAST_ROWS, TRAFFIC, empty, window
from services.web.timestamps import iso

MOST_VERSIONS = 8
OUTCOME_DAYS = 365  # outcomes come a quarter or more after their predictions
SHOWN = {  # the parts of an event's detail that the page shows: neither ids of requests nor the callers' own ids
    "switch": ("old", "model_version", "generation"),
    "refusal": ("model_version", "reason"),
    "deployment": ("action", "file", "sha256", "result", "user", "why"),
    "erasure": ("predictions",),
    "challenge": ("model_version", "result", "share", "reason"),
}


class Monitor:
    """Computes the summary of the last ``days`` from a log that it reads a page at a time."""

    def __init__(self, log: PredictionLog, versions: ModelVersions, days: int, hour_rows: int = HOUR_ROWS) -> None:
        self.log = log
        self.versions = versions
        self.days = days
        self.hours = Hours(log, versions, max(days, TRAFFIC["day"][1]), days, hour_rows)
        self.performance = Performance(log, OUTCOME_DAYS, versions)

    def state(self) -> bytes:
        """Everything that was read so far, for :meth:`resume` in another process."""
        outside = (self.log, self.versions)
        return pickle.dumps(
            [
                {name: value for name, value in vars(part).items() if not any(value is one for one in outside)}
                for part in (self.hours, self.performance)
            ]
        )

    def resume(self, state: bytes) -> None:
        """Continue from another monitor's :meth:`state`."""
        for part, read in zip((self.hours, self.performance), pickle.loads(state), strict=True):
            vars(part).update(read)

    def summary(self, now: float, seconds: float = float("inf")) -> dict[str, Any]:
        """The content of ``monitor.json`` as of ``now``, without the facts that only the serving side knows.

        Reads for about ``seconds`` at most. Rows that are not read yet are missing; the next call reads them. Raises
        :class:`sqlalchemy.exc.SQLAlchemyError`.
        """
        since = window(now, self.days)
        content = empty(self.days, now)
        try:
            self.log.check()
        except NoLog:
            return content
        began = time.monotonic()
        with self.log.connected():
            self.hours.update(now, seconds)
            self.performance.update(now, seconds - (time.monotonic() - began))
            content["events"] = [_event(event) for event in self.log.events(now - TRAFFIC["day"][1] * DAY)]
        counts = self.hours.counts(since, now + HOUR)
        latest: dict[str, str] = {}
        for count in counts:
            latest[count.version] = max(count.last, latest.get(count.version, ""))
        live = sorted(latest, key=latest.__getitem__, reverse=True)[:MOST_VERSIONS]
        listed = [*live, *(version for version in self.performance.versions if version not in latest)][:MOST_VERSIONS]
        content["models"] = [
            self._model(version, [c for c in counts if c.version == version], since, now) for version in listed
        ]
        content["traffic"] = self._traffic(listed, now)
        return content

    def _traffic(self, listed: Sequence[str], now: float) -> dict[str, Any]:
        known = next((found for version in listed if (found := self._known(version))), None)
        bands = [band.label for band in known.manifest.bands] if known else []
        return {
            name: series(self.hours.counts(now - step * (steps + 1), now + HOUR), now, step, steps, bands)
            for name, (step, steps) in TRAFFIC.items()
        }

    def _known(self, version: str) -> ModelVersion | None:
        try:
            return self.versions.get(version)
        except UnknownVersion:
            return None

    def _model(self, version: str, counts: Sequence[RowCount], since: float, now: float) -> dict[str, Any]:
        rows = sum(count.rows for count in counts)
        entry: dict[str, Any] = {
            "model_version": version,
            "name": None,
            "title": None,
            "positive": None,
            "first": iso(min(c.minute for c in counts), "seconds") if counts else None,
            "last": iso(max(c.minute for c in counts), "seconds") if counts else None,
            "rows": rows,
            "sampled": 0,
            "status": "unknown",
            "text": "",
            "why_not": None,
            "expected_rate": sum(c.probabilities for c in counts) / rows if rows else None,
            "reference_rate": None,
            "estimated_roc_auc": None,
            "bands": [],
            "score": None,
            "features": [],
            "days": [],
        }
        published = None
        try:
            known = self.versions.get(version)
            published = published_roc_auc(known.manifest.data.get("metrics", {}))
            entry |= self._compared(version, known, counts, since, now)
        except UnknownVersion as reason:
            entry |= {"why_not": str(reason), "text": f"Cannot be compared with training: {reason}."}
        entry["performance"] = self.performance.of(version, published)
        entry["challengers"] = [
            {"model_version": other, "rows": scored, "mean_difference": difference}
            | self.performance.with_challenger(version, other, (published, self._published(other)))
            for other, scored, difference in self.hours.challengers(version, since)
        ]
        return entry

    def _published(self, version: str) -> float | None:
        known = self._known(version)
        return published_roc_auc(known.manifest.data.get("metrics", {})) if known else None

    def _compared(
        self, version: str, known: ModelVersion, counts: Sequence[RowCount], since: float, now: float
    ) -> dict[str, Any]:
        about = known.manifest
        live = PooledSample.of(self.hours.samples(version, since, now + HOUR))
        score, features = drift.compare(known, live)
        rows = sum(count.rows for count in counts)
        status = drift.worst([score["status"], *(feature["status"] for feature in features)])
        return {
            "name": about.name,
            "title": about.title,
            "positive": about.positive,
            "sampled": live.sampled if live else 0,
            "status": status,
            "text": sentences.model(status, score, features, rows, LEAST_ROWS),
            "reference_rate": known.reference_rate(),
            "estimated_roc_auc": estimated_roc_auc(live.probabilities, live.weights) if live else None,
            "bands": bands(known, counts),
            "score": score,
            "features": features,
            "days": self._days(version, known, counts, since, now),
        }

    def _days(
        self, version: str, known: ModelVersion, counts: Sequence[RowCount], since: float, now: float
    ) -> list[dict[str, Any]]:
        found = []
        for start in range(int(since // DAY) * DAY, int(now) + 1, DAY):
            own = [count for count in counts if start <= count.minute < start + DAY]
            if rows := sum(count.rows for count in own):
                live = PooledSample.of(self.hours.samples(version, max(start, since), start + DAY))
                day = {"day": iso(start, "seconds")[:10], "rows": rows, "sampled": live.sampled if live else 0}
                day["expected_rate"] = sum(count.probabilities for count in own) / rows
                found.append(day | drift.daily(known, live))
        return found


def bands(known: ModelVersion, counts: Iterable[RowCount]) -> list[dict[str, Any]]:
    """Rows and shares by band, with the shares of training."""
    rows = {band.label: 0 for band in known.manifest.bands}
    for count in counts:
        if count.band in rows:
            rows[count.band] += count.rows
    total = sum(rows.values())
    return [
        {
            "label": band.label,
            "upper": band.upper,
            "rows": rows[band.label],
            "share": rows[band.label] / total if total else None,
            "reference_share": band.share,
        }
        for band in known.manifest.bands
    ]


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    detail = {name: event["detail"].get(name) for name in SHOWN.get(event["kind"], ())}
    return {
        "time": event["time"],
        "kind": event["kind"],
        "detail": detail,
        "text": sentences.happened(event["kind"], detail),
    }
