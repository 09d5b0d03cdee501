"""Reads a span of the log a page at a time, over several rounds where it is long."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from services.monitoring.analysis.traffic import RowCount
from services.monitoring.log_reader.queries import SECONDS, PredictionLog, edge
from services.monitoring.log_reader.sampling import SampledRow

LONG, SHORT = 1.0, 0.25  # seconds; after a longer question the page shrinks, after a shorter one it grows
FEWEST, FIRST, MOST = 500, 20_000, 160_000  # rows in a page

Answer = TypeVar("Answer")
# Champion and challenger: rows that both scored, the sum of challenger minus champion, when the last was scored.
Compared = dict[tuple[str, str], tuple[int, float, str]]


@dataclass
class PageSize:
    """How many rows a page has: at most ``most``, adapted to the time that the last questions took."""

    rows: int = FIRST
    most: int = MOST

    def ask(self, question: Callable[[int], Answer]) -> Answer:
        """Ask for a page. A question that was interrupted is asked again for fewer rows. Raises what the question raises."""
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
class Span:
    """The rows from ``since`` up to ``until`` (seconds since 1970): counts of all, and a sample of each version.

    ``began`` is when the reading began. Rows that arrived later may be missing.
    """

    since: int
    until: int
    began: float
    counts: list[RowCount] = field(default_factory=list)
    rows: dict[str, list[SampledRow]] = field(default_factory=dict)
    compared: Compared = field(default_factory=dict)
    _after: str = ""
    _challengers: list[str] | None = None

    @property
    def total(self) -> int:
        """The number of rows."""
        return sum(count.rows for count in self.counts)

    def read(
        self, log: PredictionLog, page_sizes: tuple[PageSize, PageSize], most: int, wanted: Callable[[str], bool]
    ) -> bool:
        """Read one more page, of predictions first, then of challenges. A sample of a ``wanted`` version has ``most``
        rows; other versions have none.

        Returns True after the last page. Raises what :class:`PredictionLog` raises; the page can then be read again.
        """
        self._after = self._after or edge(self.since)
        if self._challengers is None:
            page_sizes[0].ask(lambda rows: self._count(log, rows, most, wanted))
        elif self._challengers:
            page_sizes[1].ask(lambda rows: self._compare(log, rows))
        return self._challengers == []

    def _count(self, log: PredictionLog, rows: int, most: int, wanted: Callable[[str], bool]) -> None:
        end = log.page(self._after, edge(self.until), rows)
        counts = log.counts(self._after, end)
        found = {}
        for version in sorted({count.version for count in counts}):
            if most and wanted(version):
                kept = self.rows.get(version, [])
                below = kept[-1].drawn if len(kept) >= most else None
                found[version] = smallest_drawn([kept, log.sample(version, self._after, end, most, below)], most)
        last = end == edge(self.until)
        self._challengers = log.challengers() if last else None
        self.counts = merge_counts([self.counts, counts])
        self.rows |= found
        self._after = edge(self.since) if last else end

    def _compare(self, log: PredictionLog, most: int) -> None:
        assert self._challengers
        challenger = self._challengers[0]
        end = log.challenge_page(challenger, self._after, edge(self.until), most)
        found = log.compared(challenger, self._after, end)
        add_compared(
            self.compared, {(champion, challenger): (rows, total, last) for champion, rows, total, last in found}
        )
        self._after = end
        if end == edge(self.until):
            self._challengers.pop(0)
            self._after = edge(self.since)


def smallest_drawn(parts: Iterable[Sequence[SampledRow]], most: int) -> list[SampledRow]:
    """The sample of several parts, from the samples of each: the rows with the smallest ``drawn``."""
    return sorted((row for part in parts for row in part), key=attrgetter("drawn"))[:most]


def merge_counts(parts: Iterable[Iterable[RowCount]], step: int = 1) -> list[RowCount]:
    """Add the counts of several parts up, by ``step`` seconds."""
    rows: Counter[tuple[str, int, str | None]] = Counter()
    sums: dict[tuple[str, int, str | None], float] = {}
    last: dict[tuple[str, int, str | None], str] = {}
    for part in parts:
        for count in part:
            key = (count.version, count.minute // step * step, count.band)
            rows[key] += count.rows
            sums[key] = sums.get(key, 0.0) + count.probabilities
            last[key] = max(last.get(key, ""), count.last)
    return [RowCount(*key, number, sums[key], last[key]) for key, number in rows.items()]


def add_compared(to: Compared, more: Compared) -> None:
    """Add the rows and the sums of each pair to ``to``."""
    for pair, (rows, total, last) in more.items():
        before = to.get(pair, (0, 0.0, ""))
        to[pair] = (before[0] + rows, before[1] + total, max(before[2], last))
