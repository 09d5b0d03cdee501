"""The rows of the log, hour by hour: every row is counted, and a sample of each version's rows is kept.

The memory for an hour does not grow with its rows. The time of a round is bounded: the next round reads the rest.

- The current hour is read in spans of five minutes, latest first. A span is read again in each round, until its last rows are in
  the log.
- The rows of the last two hours are then counted in each round; the index alone can do that. Where the count has changed, rows
  arrived late or were erased, and they are read again.
- Older hours are read as a whole, once. They are counted in turn. They are also read again in turn, because as many rows may have
  arrived as were erased.

Why no counts are kept in the database: ``docs/decisions/014-monitoring-reads-pages.md``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.monitoring.analysis.traffic import RowCount
from services.monitoring.log_reader.model_versions import ModelVersion, ModelVersions, UnknownVersion
from services.monitoring.log_reader.paging import Compared, PageSize, Span, add_compared, merge_counts, smallest_drawn
from services.monitoring.log_reader.queries import PredictionLog, edge
from services.monitoring.log_reader.sampling import Sample
from services.monitoring.summary import DAY, HOUR
from services.web.timestamps import parse

HOUR_ROWS = 2000  # rows in the sample of one version and hour
SPAN = 300  # seconds; the current hour is read in spans
LATE = 120  # seconds after which a row is in the log, unless there is trouble
MINUTES_KEPT = 4 * HOUR  # older rows are counted by the hour
COUNTED = 2_000_000  # rows of older hours that a round counts again
LEAST_COUNTED = 20_000  # rows; counting an hour costs at least as much as counting so many
AGAIN = 10  # pages of older hours that a round reads again


@dataclass
class Hour:
    """What is kept of an hour: the counts of all rows, a sample per version, the challengers' scores.

    ``totals`` are the rows in each SPAN of the hour. ``spans`` are those of the current hour, by their first second. ``read`` and
    ``looked`` are the rounds in which the hour was last read and last counted. ``changed`` is True where the count differs from
    what was read.
    """

    counts: list[RowCount]
    samples: dict[str, Sample]
    compared: Compared
    totals: list[int]
    read: int
    looked: int
    spans: dict[int, Span] = field(default_factory=dict)
    changed: bool = False


@dataclass
class Allowance:
    """What a round may still read: until a time of the monotonic clock, and a number of pages."""

    until: float
    pages: float = float("inf")

    @property
    def left(self) -> bool:
        """Whether the round may go on."""
        return self.pages > 0 and time.monotonic() <= self.until


class Hours:
    """Reads the hours of the last ``days`` and keeps what is known of them; samples are kept for ``sampled_days``.

    All attributes except ``log`` and ``versions`` are plain data, so that another process can continue with them.
    """

    def __init__(
        self, log: PredictionLog, versions: ModelVersions, days: int, sampled_days: int, hour_rows: int = HOUR_ROWS
    ) -> None:
        self.log = log
        self.versions = versions
        self.days = days
        self.sampled_days = sampled_days
        self.hour_rows = hour_rows
        self.kept: dict[int, Hour] = {}
        self.unfinished: dict[tuple[int, int], Span] = {}  # spans of which some pages are read
        self.page_sizes = PageSize(), PageSize()  # of predictions, of challenges
        self.round = 0
        self.complete = False  # whether everything was read once

    def update(self, now: float, seconds: float = float("inf")) -> bool:
        """Read the new rows, latest first, for about ``seconds`` at most; True once everything has been read.

        Raises what :class:`PredictionLog` raises.
        """
        self.round += 1
        allowance = Allowance(time.monotonic() + seconds)
        last = int(now // HOUR) * HOUR
        first = max(last - self.days * DAY, self._first(last))
        self._forget(first, now)
        if self.complete:
            self._count_again(last, allowance)
        # In every other round, rows that were never read come first: reading the current spans again may take all the time.
        fresh = self.complete or self.round % 2
        self.complete = (
            bool(fresh or (self._current(last, now, allowance, False) and self._older(first, last, now, allowance)))
            and self._current(last, now, allowance)
            and self._older(first, last, now, allowance)
        )
        if self.complete:
            self._again(now, Allowance(allowance.until, AGAIN))
        return self.complete

    def _first(self, last: int) -> int:
        oldest = self.log.first()
        return last if oldest is None else parse(oldest) // HOUR * HOUR

    def _forget(self, first: int, now: float) -> None:
        self.kept = {hour: kept for hour, kept in self.kept.items() if hour >= first}
        self.unfinished = {key: span for key, span in self.unfinished.items() if span.since >= first}
        for hour, kept in self.kept.items():
            kept.counts = _by_age(kept.counts, hour, now)
            if not self._sampled(hour, now):
                kept.samples = {}

    def _sampled(self, hour: int, now: float) -> bool:
        return hour >= now - (self.sampled_days * DAY + HOUR)

    # --- what is new -----------------------------------------------------------------------------------------------------

    def _current(self, last: int, now: float, allowance: Allowance, again: bool = True) -> bool:
        """Read the spans of the current hour, and those of the hour before it until its last rows are in the log.

        Without ``again``, only spans that were never read.
        """
        before = last - HOUR if now < last + LATE else last
        for hour in sorted({last, before, *(hour for hour, kept in self.kept.items() if kept.spans)}, reverse=True):
            kept = self.kept.get(hour)
            spans = dict(kept.spans) if kept else {}
            slots = range(hour, min(hour + HOUR, int(now) + 1), SPAN)
            due = [since for since in slots if since not in spans or (again and not _settled(spans[since]))]
            for since in reversed(due):
                made = self._read(since, since + SPAN, now, allowance)
                if made is None:
                    break
                spans[since] = made
                self.kept[hour] = self._hour(hour, spans.values(), now, spans)
            if due and not allowance.left:
                return False
            if again and not due and now >= hour + HOUR + LATE:
                self.kept[hour].spans = {}
        return True

    def _older(self, first: int, last: int, now: float, allowance: Allowance) -> bool:
        """Read the hours that were never read, latest first."""
        for hour in range(last - HOUR, first - 1, -HOUR):
            if hour not in self.kept and not self._read_hour(hour, now, allowance):
                return False
        return True

    def _read_hour(self, hour: int, now: float, allowance: Allowance) -> bool:
        """Read an hour as a whole; False where the allowance ends first."""
        if span := self._read(hour, hour + HOUR, now, allowance):
            self.kept[hour] = self._hour(hour, [span], now)
        return span is not None

    def _read(self, since: int, until: int, now: float, allowance: Allowance) -> Span | None:
        """Read a span of the log; None where the allowance ends first. The next call continues where this one stopped."""
        most = self.hour_rows if self._sampled(since, now) else 0
        while allowance.left:
            allowance.pages -= 1
            span = self.unfinished.setdefault((since, until), Span(since, until, now))
            if span.read(self.log, self.page_sizes, most, lambda version: self._known(version) is not None):
                return self.unfinished.pop((since, until))
        return None

    def _hour(self, hour: int, parts: Iterable[Span], now: float, spans: dict[int, Span] | None = None) -> Hour:
        parts = list(parts)
        counts = merge_counts(part.counts for part in parts)
        totals, rows = [0] * (HOUR // SPAN), Counter[str]()
        for count in counts:
            totals[(count.minute - hour) // SPAN] += count.rows
            rows[count.version] += count.rows
        samples = {}
        for version in {version for part in parts for version in part.rows}:
            if known := self._known(version):
                found = smallest_drawn([part.rows.get(version, []) for part in parts], self.hour_rows)
                samples[version] = Sample.of(known, hour, max(rows[version], len(found)), found)
        compared: Compared = {}
        for part in parts:
            add_compared(compared, part.compared)
        return Hour(_by_age(counts, hour, now), samples, compared, totals, self.round, self.round, spans or {})

    def _known(self, version: str) -> ModelVersion | None:
        try:
            return self.versions.get(version)
        except UnknownVersion:
            return None

    # --- what changed ----------------------------------------------------------------------------------------------------

    def _count_again(self, last: int, allowance: Allowance) -> None:
        """Find the hours in which rows arrived late or were erased: the last two, and older ones in turn."""
        counted = 0
        for hour in sorted(self.kept, key=lambda hour: (hour < last - HOUR, self.kept[hour].looked, -hour)):
            kept = self.kept[hour]
            if not allowance.left or counted >= COUNTED:
                return
            kept.looked = self.round
            if kept.spans:
                for span in kept.spans.values():
                    if _settled(span) and self._differs(span.since, span.until, span.total):
                        span.began = 0.0
            elif (total := sum(kept.totals)) <= COUNTED:
                kept.changed = self._differs(hour, hour + HOUR, total)
            else:
                spans = enumerate(range(hour, hour + HOUR, SPAN))
                kept.changed = any(self._differs(since, since + SPAN, kept.totals[i]) for i, since in spans)
            counted += max(sum(kept.totals), LEAST_COUNTED) if hour < last - HOUR else 0

    def _differs(self, since: int, until: int, rows: int) -> bool:
        return self.log.count_rows(edge(since), edge(until), rows + 1) != rows

    def _again(self, now: float, allowance: Allowance) -> None:
        """Read the changed hours again, and the hour that was read longest ago."""
        older = [hour for hour, kept in self.kept.items() if not kept.spans]
        changed = sorted((hour for hour in older if self.kept[hour].changed), reverse=True)
        for hour in [*changed, *sorted(older, key=lambda hour: (self.kept[hour].read, hour))[:1]]:
            self._read_hour(hour, now, allowance)

    # --- what is known ---------------------------------------------------------------------------------------------------

    def counts(self, since: float, until: float) -> list[RowCount]:
        """The counts of all rows from ``since`` up to ``until``."""
        return [
            count
            for hour, kept in self.kept.items()
            if since - HOUR < hour < until
            for count in kept.counts
            if since <= count.minute < until
        ]

    def samples(self, version: str, since: float, until: float) -> list[Sample]:
        """The samples of a version's hours that begin from ``since`` up to ``until``, oldest first."""
        return [
            kept.samples[version]
            for hour, kept in sorted(self.kept.items())
            if since <= hour < until and version in kept.samples
        ]

    def challengers(self, version: str, since: float) -> list[tuple[str, int, float]]:
        """The challengers of this version since then: version, rows, mean of challenger minus champion.

        The one with the most rows comes first; of two with as many, the one that scored last.
        """
        found: Compared = {}
        for hour, kept in sorted(self.kept.items()):
            if hour >= since:
                add_compared(found, kept.compared)
        own = [(rows, last, other, total) for (own, other), (rows, total, last) in found.items() if own == version]
        return [(other, rows, total / rows) for rows, _, other, total in sorted(own, reverse=True)]


def _by_age(counts: list[RowCount], hour: int, now: float) -> list[RowCount]:
    """Counts by the minute while the monitor shows minutes, then by the hour."""
    by_minute = any(count.minute != hour for count in counts)
    return merge_counts([counts], HOUR) if by_minute and hour <= now - MINUTES_KEPT else counts


def _settled(span: Span) -> bool:
    """Whether the span was read after its last rows had arrived in the log."""
    return span.began >= span.until + LATE
