"""A piece of the log, read a page at a time, in as many rounds as it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from services.monitoring.analysis.traffic import Count
from services.monitoring.log_reader.queries import SECONDS, Log, Row, edge

LONG, SHORT = 1.0, 0.25  # seconds; a question that takes longer gets smaller, one that takes less gets larger
FEWEST, FIRST, MOST = 500, 20_000, 160_000  # rows that a question looks at

Answer = TypeVar("Answer")
# Champion and challenger: rows that both scored, the sum of challenger minus champion, when the last was scored.
Compared = dict[tuple[str, str], tuple[int, float, str]]


@dataclass
class Pace:
    """How many rows a question looks at, ``most`` or fewer, by how long the last ones took."""

    rows: int = FIRST
    most: int = MOST

    def ask(self, question: Callable[[int], Answer]) -> Answer:
        """The answer for so many rows; for fewer where it did not come in time. Raises what the question does."""
        while True:
            began = time.monotonic()
            try:
                answer = question(self.rows)
            except SQLAlchemyError:
                if self.rows == FEWEST or time.monotonic() - began < SECONDS:
                    raise
                self.rows = max(FEWEST, self.rows // 8)
                continue
            took = time.monotonic() - began
            if took > LONG:
                self.rows = max(FEWEST, self.rows // 2)
            elif took < SHORT:
                self.rows = min(self.most, self.rows * 2)
            return answer


@dataclass
class Piece:
    """Rows from ``since`` up to ``until`` (seconds since 1970): all counted; of each version a sample kept.

    ``began`` is when the reading did: what arrived later may be missing.
    """

    since: int
    until: int
    began: float
    counts: list[Count] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    compared: Compared = field(default_factory=dict)
    _after: str = ""
    _challengers: list[str] | None = None

    @property
    def total(self) -> int:
        """How many rows were counted."""
        return sum(count.rows for count in self.counts)

    def read(self, log: Log, paces: tuple[Pace, Pace], most: int, wanted: Callable[[str], bool]) -> bool:
        """Read one page more: of predictions, then of challenges; ``most`` rows are kept of each ``wanted`` version.

        True where that was the last. Raises what :class:`Log` does; then nothing of the page was taken in.
        """
        self._after = self._after or edge(self.since)
        if self._challengers is None:
            paces[0].ask(lambda rows: self._count(log, rows, most, wanted))
        elif self._challengers:
            paces[1].ask(lambda rows: self._compare(log, rows))
        return self._challengers == []

    def _count(self, log: Log, rows: int, most: int, wanted: Callable[[str], bool]) -> None:
        end = log.page(self._after, edge(self.until), rows)
        counts = log.counts(self._after, end)
        found = {}
        for version in sorted({count.version for count in counts}):
            if most and wanted(version):
                kept = self.rows.get(version, [])
                below = kept[-1].drawn if len(kept) >= most else None
                found[version] = smallest([kept, log.sample(version, self._after, end, most, below)], most)
        last = end == edge(self.until)
        self._challengers = log.challengers() if last else None
        self.counts = together([self.counts, counts])
        self.rows |= found
        self._after = edge(self.since) if last else end

    def _compare(self, log: Log, most: int) -> None:
        assert self._challengers
        challenger = self._challengers[0]
        end = log.challenge_page(challenger, self._after, edge(self.until), most)
        found = log.compared(challenger, self._after, end)
        add(self.compared, {(champion, challenger): (rows, total, last) for champion, rows, total, last in found})
        self._after = end
        if end == edge(self.until):
            self._challengers.pop(0)
            self._after = edge(self.since)


def smallest(parts: Iterable[Sequence[Row]], most: int) -> list[Row]:
    """Of the rows with the smallest ``drawn`` of each part, those of all parts."""
    return sorted((row for part in parts for row in part), key=attrgetter("drawn"))[:most]


def together(parts: Iterable[Iterable[Count]], step: int = 1) -> list[Count]:
    """Counts of several parts, by ``step`` seconds."""
    rows: Counter[tuple[str, int, str | None]] = Counter()
    sums: dict[tuple[str, int, str | None], float] = {}
    last: dict[tuple[str, int, str | None], str] = {}
    for part in parts:
        for count in part:
            key = (count.version, count.minute // step * step, count.band)
            rows[key] += count.rows
            sums[key] = sums.get(key, 0.0) + count.probabilities
            last[key] = max(last.get(key, ""), count.last)
    return [Count(*key, number, sums[key], last[key]) for key, number in rows.items()]


def add(to: Compared, more: Compared) -> None:
    """Add the rows and the sums of each pair."""
    for pair, (rows, total, last) in more.items():
        before = to.get(pair, (0, 0.0, ""))
        to[pair] = (before[0] + rows, before[1] + total, max(before[2], last))
