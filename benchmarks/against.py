"""``make bench-against REVISION=…``: this checkout and an older revision of it in turn: ratios of rate, p99 and memory.

Both run in the same environment, on the same bundle, with everything on. The older revision is checked out into a
temporary directory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import footprint
from benchmarks.__main__ import loans, sheet_of, table_of
from benchmarks.load import closed_loop
from benchmarks.serving import Subjects
from benchmarks.subjects import ARROW, CSV


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("revision")
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "older"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", older, options.revision], check=True)
        try:
            compare(options, older, Path(folder))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", older], check=True)
    return 0


def compare(options: argparse.Namespace, older: Path, folder: Path) -> None:
    """Start both and let them take turns."""
    one, many = loans(1)[0], loans(1000)
    requests = {
        "one loan": closed_loop.post(json.dumps(one).encode()),
        "1,000 loans": closed_loop.post(json.dumps(many).encode()),
        "1,000 loans as Arrow": closed_loop.post(table_of(many), kind=ARROW),
        "1,000 loans as CSV": closed_loop.post(sheet_of(many), kind=CSV),
    }
    sides = {"before": Subjects(options.model, folder / "b", older), "now": Subjects(options.model, folder / "n")}
    try:
        for subjects in sides.values():
            subjects.folder.mkdir()
            subjects.start([])
            subjects.wait(json.dumps(one).encode())
        for name, request in requests.items():
            seen: dict[str, list[closed_loop.Round]] = {side: [] for side in sides}
            for turn in range(options.rounds + 1):
                for side, subjects in sides.items() if turn % 2 else reversed(sides.items()):
                    found = closed_loop.run(subjects.ports["ours"], request, options.seconds)
                    subjects.settle()
                    if found.failed:
                        raise AssertionError(f"{side}: {found.failed} requests failed: nothing is measured")
                    if turn:  # the first round warms up
                        seen[side].append(found)
            report(name, seen)
        memory = {
            side: footprint.proportional_set_size(subjects.processes[-1].pid) / 1e6 for side, subjects in sides.items()
        }
        print(
            f"memory: {memory['now'] / memory['before']:.3f} x ({memory['before']:.0f} MB before, {memory['now']:.0f} now)"
        )
    finally:
        for subjects in sides.values():
            subjects.stop()


def report(name: str, seen: dict[str, list[closed_loop.Round]]) -> None:
    """One line: medians, and the median of the ratios of neighbouring rounds."""
    pairs = list(zip(seen["now"], seen["before"], strict=True))
    rate = statistics.median(now.rate / before.rate for now, before in pairs)
    p99 = statistics.median(now.percentile(0.99) / before.percentile(0.99) for now, before in pairs)
    rates = {side: statistics.median(found.rate for found in rounds) for side, rounds in seen.items()}
    print(
        f"{name}: {rate:.3f} x the rate ({rates['before']:,.0f}/s before, {rates['now']:,.0f}/s now), p99 {p99:.2f} x"
    )


if __name__ == "__main__":
    sys.exit(main())
