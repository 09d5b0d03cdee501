"""``make zoo``: every kind of classifier that users bring, published and scored; the table of ``docs/models.md``.

Each is fitted on a small set of data, published, loaded as a replica loads it, and compared. Times are medians, of its library's
``predict_proba`` and of the scorer in turn, for one row at a time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.zoo.cases import CASES, Case, installed
from modelbundle.format import bundle
from modelbundle.publishing.publish import Published, publish

PAGE = Path("docs/models.md")
BEGIN, END = "<!-- zoo -->", "<!-- /zoo -->"
ROUNDS = 30


def fitted(case: Case, path: Path) -> tuple[Any, Any, Published]:
    """The fitted classifier, its frame, and the bundle at ``path``."""
    frame, labels = case.frame()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = case.make().fit(frame, labels)
        return model, frame, publish(model, frame, labels, path)


def row(case: Case) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, frame, made = fitted(case, Path(folder) / "m.bundle")
        served = bundle.read(made.path)
        asked = [None if value != value else value for value in frame.iloc[0].tolist()]
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            for call, found in (
                (lambda: served.answer(asked), times[0]),
                (lambda: model.predict_proba(frame[:1]), times[1]),
            ):
                began = time.perf_counter()
                call()
                found.append(1e6 * (time.perf_counter() - began))
        ours, theirs = map(statistics.median, times)
        scorer = made.manifest["scorer"]
        size = made.path.stat().st_size / 1e3
    cells = (
        case.name,
        scorer["kind"],
        f"{scorer['proof']['max_difference']:.1g}",
        f"{ours:,.0f}",
        f"{theirs:,.0f}",
        f"{theirs / ours:,.0f} ×" if theirs > 10 * ours else f"{theirs / ours:.1f} ×",
        f"{size:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def table(cases: list[Case]) -> Iterator[str]:
    """The lines of the table."""
    yield "| classifier | scorer | largest difference | µs a row | µs in its library | ratio | kB |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    yield from map(row, cases)


def main() -> int:
    """Print the table, and write it into the page."""
    there = [case for case in CASES if installed(case)]
    missing = sorted({case.needs for case in CASES} - {case.needs for case in there})
    if missing:
        print(f"left out, because they are not installed: {', '.join(missing)}", file=sys.stderr)
        return 1
    lines = []
    for line in table(there):
        print(line, flush=True)
        lines.append(line)
    page = PAGE.read_text("utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
