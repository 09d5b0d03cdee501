"""``make bench``: medians and ratios of one run, as a table, as JSON, and as the chart of docs/benchmarks.md.

Subjects take turns, round by round, so that a machine whose speed drifts is unkind to all of them alike. Absolute figures
are this machine's; the ratios are what to compare.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import footprint, inprocess, serving
from benchmarks.capacity import measure as capacity
from benchmarks.capacity import page
from benchmarks.chart import LABELS, draw
from benchmarks.load import closed_loop
from benchmarks.serving import OTHER_FORMS
from benchmarks.subjects import ARROW, CSV
from late_payers import simulation

NAMES = ("ours", "unlogged", "empty", "naive", "prototype", "fastapi")
BATCH = ("ours", "unlogged", *OTHER_FORMS, "naive", "fastapi")
PACKAGES = (
    "flask",
    "gunicorn",
    "fastapi",
    "uvicorn",
    "scikit-learn",
    "pandas",
    "numpy",
    "msgspec",
    "interpret-core",
    "pyarrow",
)


def loans(count: int) -> list[dict[str, Any]]:
    """Simulated loans as JSON records; the same for the same count."""
    frame = simulation.simulate(max(count, 1000), 1).drop(columns="is_late").head(count)
    return [
        {str(k): None if v != v else v for k, v in record.items()}  # a missing value is not a number
        for record in frame.to_dict("records")
    ]


def table_of(records: list[dict[str, Any]]) -> bytes:
    """Records as a stream of Arrow."""
    table = pa.Table.from_pylist(records)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def kinds() -> dict[str, tuple[int, bytes]]:
    """The requests whose cost is measured: their rows, and their bytes."""
    one, thousand = loans(1), loans(1000)
    return {
        "one_loan": (1, closed_loop.post(json.dumps(one[0]).encode())),
        "thousand_loans": (1000, closed_loop.post(json.dumps(thousand).encode())),
        "thousand_loans_arrow": (1000, closed_loop.post(table_of(thousand), kind=ARROW)),
    }


def sheet_of(records: list[dict[str, Any]]) -> bytes:
    """Records as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def main() -> int:
    """Measure, print, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results.json"))
    parser.add_argument("--chart", type=Path, default=Path("docs/throughput.svg"))
    options = parser.parse_args()
    names = list(NAMES)
    one, thousand = (json.dumps(loans(n)[0] if n == 1 else loans(n)).encode() for n in (1, 1000))
    forms = {ARROW: table_of(loans(1000)), CSV: sheet_of(loans(1000))}
    with serving.running(options.model, [n for n in names if n != "ours"], one) as subjects:
        difference = serving.agree(subjects.ports, loans(200), names)
        single = serving.measure(subjects, one, options.rounds, options.seconds, names)
        batch = serving.measure(subjects, thousand, options.rounds, options.seconds, list(BATCH), forms)
    before = json.loads(options.out.read_text("utf-8")).get("capacity", {}) if options.out.exists() else {}
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "largest_difference_of_a_probability": difference,
        "one_loan": single,
        "thousand_loans": batch,
        "capacity": capacity.measure(options.model, kinds(), options.rounds, options.seconds, before),
        "in_process_microseconds_per_row": inprocess.measure(options.model),
    }
    results["replica"] = footprint.measure(options.model, one)
    results["ratios"] = ratios(results)
    options.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    draw(single, results["date"], options.chart)
    if options.out == page.RESULTS:
        page.write()
    print(table(results))
    return 0


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """What the project promises, as ratios within this run."""
    single, batch = results["one_loan"], results["thousand_loans"]
    rate = {name: facts["requests_per_second"] for name, facts in single.items()}
    return {
        "one loan, against the empty Flask view": rate["ours"] / rate["empty"],
        "one loan, without the prediction log, against the empty Flask view": rate["unlogged"] / rate["empty"],
        "one loan, against FastAPI + pandas": rate["ours"] / rate["fastapi"],
        "one loan, against Flask + pandas": rate["ours"] / rate["naive"],
        "one loan, against the prototype": rate["ours"] / rate["prototype"],
        "one loan, p99 against the empty view's": single["ours"]["p99"] / single["empty"]["p99"],
        "1,000 loans in one request, against FastAPI + pandas one by one": 1000
        * batch["ours"]["requests_per_second"]
        / rate["fastapi"],
        "1,000 loans in one request, against FastAPI + pandas on the batch": batch["ours"]["requests_per_second"]
        / batch["fastapi"]["requests_per_second"],
        "1,000 loans in one request, against Flask + pandas on the batch": batch["ours"]["requests_per_second"]
        / batch["naive"]["requests_per_second"],
        "1,000 loans as CSV, against Flask + pandas on the batch as CSV": batch["csv"]["requests_per_second"]
        / batch["naive csv"]["requests_per_second"],
        "1,000 loans as CSV, against Flask + pandas on the batch as JSON": batch["csv"]["requests_per_second"]
        / batch["naive"]["requests_per_second"],
        "1,000 loans, without the prediction log, against Flask + pandas on the batch": batch["unlogged"][
            "requests_per_second"
        ]
        / batch["naive"]["requests_per_second"],
        "1,000 loans as Arrow, against Flask + pandas on the batch as JSON": batch["arrow"]["requests_per_second"]
        / batch["naive"]["requests_per_second"],
        "1,000 loans as Arrow, against Flask + pandas on the batch as Arrow": batch["arrow"]["requests_per_second"]
        / batch["naive arrow"]["requests_per_second"],
        "1,000 loans as Arrow, without the prediction log, against Flask + pandas on the batch as JSON": batch[
            "arrow unlogged"
        ]["requests_per_second"]
        / batch["naive"]["requests_per_second"],
    }


def table(results: dict[str, Any]) -> str:
    """The results as Markdown; the first two tables are the README's."""
    lines = [
        f"{results['date']}, Python {results['python']}, "
        + ", ".join(f"{k} {v}" for k, v in results["versions"].items()),
        "",
    ]
    lines += ["| one loan per request | requests/s | p50 ms | p99 ms | ours is |", "|---|---|---|---|---|"]
    lines += rows(results["one_loan"], 0)
    lines += ["", "| 1,000 loans per request | requests/s | p50 ms | p99 ms | ours is |", "|---|---|---|---|---|"]
    lines += rows(results["thousand_loans"], 1)
    lines += ["", "| ratio | |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in results["ratios"].items()]
    replica = results["replica"]
    size, ready = replica["megabytes"], replica["seconds_to_ready"]
    lines += ["", f"A replica with 2 workers: {size:.0f} MB, ready after {ready:.2f} s.", ""]
    lines += inprocess.table(results["in_process_microseconds_per_row"])
    return "\n".join(lines)


def rows(measured: dict[str, Any], digits: int) -> list[str]:
    """A line of the table per subject, and how many times as fast ours is."""
    ours = measured["ours"]["requests_per_second"]
    lines = []
    for name, facts in measured.items():
        rate = facts["requests_per_second"]
        cells = [LABELS[name], f"{rate:,.{digits}f}", f"{facts['p50'] * 1e3:.1f}", f"{facts['p99'] * 1e3:.1f}"]
        times = ours / rate
        cells.append("" if name == "ours" else f"{times:.0f} ×" if times >= 10 else f"{times:.2f} ×")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
