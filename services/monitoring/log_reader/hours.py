"""The rows of the log, hour by hour: every row counted, of each version's rows a sample looked into.

What is kept of an hour does not grow with its rows, and neither does the time of a round: what does not fit into it is read in
the next. The hour that is going on is read in pieces, latest first, each again until nothing is on its way to the log any more.
Then its rows are only counted, which the index does alone, and read again where some arrived late, or were erased. Older hours
are read as a whole, counted in turn, and read again in turn, too: as many rows may have come as went.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from services.monitoring.analysis.traffic import Count
from services.monitoring.log_reader.model_versions import Known, Unknown, Versions
from services.monitoring.log_reader.paging import Compared, Pace, Piece, add, smallest, together
from services.monitoring.log_reader.queries import Log, edge
from services.monitoring.log_reader.sampling import Sample
from services.monitoring.summary import DAY, HOUR

HOUR_ROWS = 2000  # of one version in one hour are looked into
PIECE = 300  # seconds of an hour that is going on
LATE = 120  # seconds after which a row is in the log, but for trouble
MINUTES_KEPT = 4 * HOUR  # older rows are counted by the hour
COUNTED, LEAST_COUNTED = (
    2_000_000,
    20_000,
)  # rows that are counted again in a round; an hour is as dear as so many at least
AGAIN = 10  # pages of older hours that are read again in a round


@dataclass
class Hour:
    """What is kept of an hour: all rows counted, a sample per version, what challengers said, the rows in each PIECE.

    ``pieces`` are kept while it goes on, by their first second. ``read`` and ``looked`` are the rounds in which it was read, and
    counted; ``changed`` says that it has other rows by now.
    """

    counts: list[Count]
    samples: dict[str, Sample]
    compared: Compared
    totals: list[int]
    read: int
    looked: int
    pieces: dict[int, Piece] = field(default_factory=dict)
    changed: bool = False


@dataclass
class Allowance:
    """What may still be read: until a time of the monotonic clock, and so many pages."""

    until: float
    pages: float = float("inf")

    @property
    def left(self) -> bool:
        """Whether there is any."""
        return self.pages > 0 and time.monotonic() <= self.until


class Book:
    """Keeps the last ``days`` of hours in mind, with samples of the last ``sampled_days``.

    All but ``log`` and ``versions`` is plain data: another process may go on with it.
    """

    def __init__(self, log: Log, versions: Versions, days: int, sampled_days: int, hour_rows: int = HOUR_ROWS) -> None:
        self.log = log
        self.versions = versions
        self.days = days
        self.sampled_days = sampled_days
        self.hour_rows = hour_rows
        self.hours: dict[int, Hour] = {}
        self.coming: dict[tuple[int, int], Piece] = {}  # what is being read
        self.pace, self.beside_pace = Pace(), Pace()  # of predictions, and of challenges
        self.round = 0
        self.complete = False  # whether everything was read once

    def update(self, now: float, seconds: float = float("inf")) -> bool:
        """Read what is new, for about ``seconds`` at most, latest first; True where everything was read once.

        Raises what :class:`Log` does.
        """
        self.round += 1
        allowance = Allowance(time.monotonic() + seconds)
        last = int(now // HOUR) * HOUR
        first = max(last - self.days * DAY, self._first(last))
        self._forget(first, now)
        if self.complete:
            self._count_again(last, allowance)
        fresh = self.complete or self.round % 2  # otherwise what is read again could keep out what never was
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
        return last if oldest is None else seconds_of(oldest) // HOUR * HOUR

    def _forget(self, first: int, now: float) -> None:
        self.hours = {hour: kept for hour, kept in self.hours.items() if hour >= first}
        self.coming = {key: piece for key, piece in self.coming.items() if piece.since >= first}
        for hour, kept in self.hours.items():
            kept.counts = _kept(kept.counts, hour, now)
            if not self._sampled(hour, now):
                kept.samples = {}

    def _sampled(self, hour: int, now: float) -> bool:
        return hour >= now - (self.sampled_days * DAY + HOUR)

    # --- what is new -----------------------------------------------------------------------------------------------------

    def _current(self, last: int, now: float, allowance: Allowance, again: bool = True) -> bool:
        """Read the pieces of the hour that goes on, and of the one before until its last rows are in the log.

        Not ``again``: only those that were never read.
        """
        before = last - HOUR if now < last + LATE else last
        for hour in sorted({last, before, *(hour for hour, kept in self.hours.items() if kept.pieces)}, reverse=True):
            kept = self.hours.get(hour)
            pieces = dict(kept.pieces) if kept else {}
            slots = range(hour, min(hour + HOUR, int(now) + 1), PIECE)
            due = [since for since in slots if since not in pieces or (again and not _settled(pieces[since]))]
            for since in reversed(due):
                made = self._read(since, since + PIECE, now, allowance)
                if made is None:
                    break
                pieces[since] = made
                self.hours[hour] = self._hour(hour, pieces.values(), now, pieces)
            if due and not allowance.left:
                return False
            if again and not due and now >= hour + HOUR + LATE:
                self.hours[hour].pieces = {}
        return True

    def _older(self, first: int, last: int, now: float, allowance: Allowance) -> bool:
        """Read the hours that were never read, latest first."""
        for hour in range(last - HOUR, first - 1, -HOUR):
            if hour not in self.hours:
                made = self._read(hour, hour + HOUR, now, allowance)
                if made is None:
                    return False
                self.hours[hour] = self._hour(hour, [made], now)
        return True

    def _read(self, since: int, until: int, now: float, allowance: Allowance) -> Piece | None:
        """A piece of the log; None where it takes more than what is allowed: then it is gone on with."""
        most = self.hour_rows if self._sampled(since, now) else 0
        while allowance.left:
            allowance.pages -= 1
            piece = self.coming.setdefault((since, until), Piece(since, until, now))
            if piece.read(self.log, (self.pace, self.beside_pace), most, lambda own: self._known(own) is not None):
                return self.coming.pop((since, until))
        return None

    def _hour(self, hour: int, parts: Iterable[Piece], now: float, pieces: dict[int, Piece] | None = None) -> Hour:
        parts = list(parts)
        counts = together(part.counts for part in parts)
        totals, rows = [0] * (HOUR // PIECE), Counter[str]()
        for count in counts:
            totals[(count.minute - hour) // PIECE] += count.rows
            rows[count.version] += count.rows
        samples = {}
        for version in {version for part in parts for version in part.rows}:
            if known := self._known(version):
                found = smallest([part.rows.get(version, []) for part in parts], self.hour_rows)
                samples[version] = Sample.of(known, hour, max(rows[version], len(found)), found)
        compared: Compared = {}
        for part in parts:
            add(compared, part.compared)
        return Hour(_kept(counts, hour, now), samples, compared, totals, self.round, self.round, pieces or {})

    def _known(self, version: str) -> Known | None:
        try:
            return self.versions.get(version)
        except Unknown:
            return None

    # --- what changed ----------------------------------------------------------------------------------------------------

    def _count_again(self, last: int, allowance: Allowance) -> None:
        """Find out where rows arrived late, or were erased: in the last two hours, and in turn in older ones."""
        counted = 0
        for hour in sorted(self.hours, key=lambda hour: (hour < last - HOUR, self.hours[hour].looked, -hour)):
            kept = self.hours[hour]
            if not allowance.left or counted >= COUNTED:
                return
            kept.looked = self.round
            if kept.pieces:
                for piece in kept.pieces.values():
                    if _settled(piece) and self._differs(piece.since, piece.until, piece.total):
                        piece.began = 0.0
            elif (total := sum(kept.totals)) <= COUNTED:
                kept.changed = self._differs(hour, hour + HOUR, total)
            else:
                spans = enumerate(range(hour, hour + HOUR, PIECE))
                kept.changed = any(self._differs(since, since + PIECE, kept.totals[i]) for i, since in spans)
            counted += max(sum(kept.totals), LEAST_COUNTED) if hour < last - HOUR else 0

    def _differs(self, since: int, until: int, rows: int) -> bool:
        return self.log.held(edge(since), edge(until), rows + 1) != rows

    def _again(self, now: float, allowance: Allowance) -> None:
        """Read again which hours changed, and the one that was read the longest ago."""
        older = [hour for hour, kept in self.hours.items() if not kept.pieces]
        changed = sorted((hour for hour in older if self.hours[hour].changed), reverse=True)
        for hour in [*changed, *sorted(older, key=lambda hour: (self.hours[hour].read, hour))[:1]]:
            made = self._read(hour, hour + HOUR, now, allowance)
            if made is not None:
                self.hours[hour] = self._hour(hour, [made], now)

    # --- what is known ---------------------------------------------------------------------------------------------------

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

    def challengers(self, version: str, since: float) -> list[tuple[str, int, float]]:
        """The challengers of this version since then: version, rows, mean of challenger minus champion.

        The one with the most rows comes first; of two with as many, the one that scored last.
        """
        found: Compared = {}
        for hour, kept in sorted(self.hours.items()):
            if hour >= since:
                add(found, kept.compared)
        own = [
            (rows, last, other, total) for (scored, other), (rows, total, last) in found.items() if scored == version
        ]
        return [(other, rows, total / rows) for rows, _, other, total in sorted(own, reverse=True)]


def _kept(counts: list[Count], hour: int, now: float) -> list[Count]:
    """By the minute while somebody looks at minutes, then by the hour."""
    by_minute = any(count.minute != hour for count in counts)
    return together([counts], HOUR) if by_minute and hour <= now - MINUTES_KEPT else counts


def _settled(piece: Piece) -> bool:
    """Whether it was read when its last rows were in the log."""
    return piece.began >= piece.until + LATE


def seconds_of(text: str) -> int:
    """An ISO 8601 time as seconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp())
