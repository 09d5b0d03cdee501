"""``make capacity``: write the figures of ``docs/capacity.md`` from the results of ``make bench`` and ``make score-10m``.

With ``--measure``, measure first what those do not: processor time, memory and disk. This takes about three minutes.
The proxy is measured where there is a Docker engine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.__main__ import kinds
from benchmarks.capacity import measure, page


def main() -> int:
    """Measure if asked, and write the page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    results = json.loads(page.RESULTS.read_text("utf-8"))
    if options.measure:
        before = results.get("capacity", {})
        results["capacity"] = measure.measure(options.model, kinds(), options.rounds, options.seconds, before)
        page.RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if "capacity" not in results:
        print(
            f"capacity: {page.RESULTS} has no member capacity: measure it with make capacity MEASURE=1", file=sys.stderr
        )
        return 1
    page.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
