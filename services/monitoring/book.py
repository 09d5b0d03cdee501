"""The rows of the log, hour by hour: every row counted, of each version's rows a sample looked into.

What is kept of an hour does not grow with its rows, so neither memory nor the time of a round does. The last two hours are read
anew in each round; older ones once, and again in turn, one per round: for what arrived late, or was erased.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from services.monitoring.reading import Log
from services.monitoring.statistics import effective_rows
from services.monitoring.summary import DAY, HOUR
from services.monitoring.traffic import Count
from services.monitoring.versions import Known, Unknown, Versions

Floats = NDArray[np.float64]
HOUR_ROWS = 2000  # of one version in one hour are looked into
MINUTES_KEPT = 4 * HOUR  # older rows are counted by the hour
MOST_STRANGERS = 50  # values that training never saw, per feature and hour


@dataclass(frozen=True)
class Sample:
    """``sampled`` of one version's ``rows`` in one hour: per feature counts by bin, strange values, sums of contributions.

    ``contributions`` has the shape (features,); None where the scorer has no exact ones.
    """

    hour: int
    rows: int
    sampled: int
    probabilities: Floats
    score: Floats
    bins: list[Floats]
    strangers: list[Counter[str]]
    contributions: Floats | None

    @classmethod
    def of(cls, known: Known, hour: int, rows: int, inputs: Sequence[str], probabilities: Floats) -> Sample:
        """From logged inputs (JSON) and probabilities."""
        columns = known.columns(inputs)
        strangers: list[Counter[str]] = []
        for feature, bins, column in zip(known.schema, known.bins, columns, strict=True):
            strange: Counter[str] = Counter()
            if feature.kind == "category":
                found = bins.indices(column) == bins.strange[0]
                strange.update(str(column[i]) for i in np.flatnonzero(found))
            strangers.append(Counter(dict(strange.most_common(MOST_STRANGERS))))
        sums = known.scorer.contributions_columns(columns).sum(axis=0) if known.scorer and len(inputs) else None
        counts = [bins.count(column) for bins, column in zip(known.bins, columns, strict=True)]
        return cls(hour, rows, len(inputs), probabilities, known.score.count(probabilities), counts, strangers, sums)


@dataclass(frozen=True)
class Pooled:
    """Hours taken together, each with the weight of all its rows.

    ``effective`` is how many rows of a simple random sample tell as much; ``bins`` and ``score`` are shares.
    """

    rows: int
    sampled: int
    effective: float
    probabilities: Floats
    weights: Floats
    score: Floats
    bins: list[Floats]
    strangers: list[dict[str, float]]
    contributions: Floats | None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Pooled | None:
        """None of no rows."""
        samples = [sample for sample in samples if sample.sampled]
        if not samples:
            return None
        weights = np.array([sample.rows / sample.sampled for sample in samples])
        sampled = np.array([sample.sampled for sample in samples], dtype=np.float64)
        total = float((weights * sampled).sum())

        def share(parts: Iterable[Floats]) -> Floats:
            return np.asarray(sum(w * part for w, part in zip(weights, parts, strict=True)) / total, dtype=np.float64)

        features = range(len(samples[0].bins))
        strangers: list[dict[str, float]] = []
        for i in features:
            seen: Counter[str] = Counter()
            for sample in samples:
                seen.update(sample.strangers[i])
            strangers.append({value: count / sampled.sum() for value, count in seen.items()})
        sums = [sample.contributions for sample in samples]
        return cls(
            rows=sum(sample.rows for sample in samples),
            sampled=int(sampled.sum()),
            effective=effective_rows(weights, sampled),
            probabilities=np.concatenate([sample.probabilities for sample in samples]),
            weights=np.repeat(weights, sampled.astype(int)),
            score=share(sample.score for sample in samples),
            bins=[share(sample.bins[i] for sample in samples) for i in features],
            strangers=strangers,
            contributions=None
            if any(part is None for part in sums)
            else share(part for part in sums if part is not None),
        )


@dataclass
class Hour:
    """What is kept of an hour: all rows counted, and a sample per version."""

    counts: list[Count]
    samples: dict[str, Sample] = field(default_factory=dict)
    read: int = 0


class Book:
    """Keeps the last ``days`` of hours in mind, with samples of the last ``sampled_days``."""

    def __init__(self, log: Log, versions: Versions, days: int, sampled_days: int, hour_rows: int = HOUR_ROWS) -> None:
        self.log = log
        self.versions = versions
        self.days = days
        self.sampled_days = sampled_days
        self.hour_rows = hour_rows
        self.hours: dict[int, Hour] = {}
        self._round = 0

    def update(self, now: float, seconds: float = float("inf")) -> bool:
        """Read what is new, for about ``seconds`` at most, latest first; True where nothing is left to read.

        Raises what :class:`Log` does.
        """
        self._round += 1
        last = int(now // HOUR) * HOUR
        first = max(last - self.days * DAY, self._first(last))
        self.hours = {hour: kept for hour, kept in self.hours.items() if hour >= first}
        again = min((kept.read, hour) for hour, kept in self.hours.items())[1] if self.hours else None
        deadline = time.monotonic() + seconds
        for hour in range(last, first - 1, -HOUR):
            if hour >= last - HOUR or hour not in self.hours or hour == again:
                if time.monotonic() > deadline:
                    return False
                self.hours[hour] = self._read(hour, now)
        return True

    def _first(self, last: int) -> int:
        oldest = self.log.first()
        return last if oldest is None else seconds_of(oldest) // HOUR * HOUR

    def _read(self, hour: int, now: float) -> Hour:
        counts = self.log.counts(hour, hour + HOUR)
        made = Hour(counts if hour > now - MINUTES_KEPT else _by_hour(counts, hour), read=self._round)
        if hour < now - (self.sampled_days * DAY + HOUR):
            return made
        rows: Counter[str] = Counter()
        for count in counts:
            rows[count.version] += count.rows
        for version, number in rows.items():
            try:
                known = self.versions.get(version)
            except Unknown:
                continue
            inputs, probabilities = self.log.sample(version, hour, hour + HOUR, self.hour_rows)
            made.samples[version] = Sample.of(known, hour, max(number, len(inputs)), inputs, probabilities)
        return made

    def counts(self, since: float, until: float) -> list[Count]:
        """All rows from ``since`` up to ``until``."""
        return [
            count
            for hour, kept in self.hours.items()
            if since - HOUR < hour < until
            for count in kept.counts
            if since <= count.minute < until
        ]

    def samples(self, version: str, since: float, until: float) -> list[Sample]:
        """The samples of a version's hours that begin from ``since`` up to ``until``, oldest first."""
        return [
            kept.samples[version]
            for hour, kept in sorted(self.hours.items())
            if since <= hour < until and version in kept.samples
        ]


def _by_hour(counts: Iterable[Count], hour: int) -> list[Count]:
    rows: Counter[tuple[str, str | None]] = Counter()
    sums: dict[tuple[str, str | None], float] = {}
    for count in counts:
        key = (count.version, count.band)
        rows[key] += count.rows
        sums[key] = sums.get(key, 0.0) + count.probabilities
    return [Count(version, hour, band, number, sums[version, band]) for (version, band), number in rows.items()]


def seconds_of(text: str) -> int:
    """An ISO 8601 time as seconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp())
