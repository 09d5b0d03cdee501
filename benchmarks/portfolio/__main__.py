"""A book of millions of simulated loans: rows per second and peak memory, and after a ``kill -9`` half-way.

``make score-10m``. Each kind of job is compared, in turn and in the same run, with the pandas job that writes the same kind of
file, and with the machine's limit: the same file read and written without a score by pyarrow, DuckDB and Polars. Figures are
medians over the rounds. The book is simulated in pieces, each from a seed of its own, so that it is never whole in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.capacity import page
from benchmarks.footprint import proportional_set_size
from benchmarks.portfolio import conversion, usual
from benchmarks.portfolio.usual import PIECE
from late_payers import simulation
from late_payers.features import COLUMNS

PACKAGES = ("scikit-learn", "interpret-core", "pandas", "numpy", "pyarrow")
KINDS = {
    "csv_to_parquet": ("book.csv", "scored.parquet"),
    "parquet_to_parquet": ("book.parquet", "scored.parquet"),
    "csv_to_csv": ("book.csv", "scored.csv"),
}
PROMISED = {"csv_to_parquet": 3, "parquet_to_parquet": 3, "csv_to_csv": 4}  # times the usual job
MEGABYTES = 500
SUBREAPER = 36  # of Linux's prctl: processes whose parent has ended become children of this one
Samples = dict[str, list[float]]
USUAL_ROWS = 1_000_000  # of the usual job: its rows per second do not depend on their number


def simulate(folder: Path, rows: int) -> None:
    """Write ``book.csv`` and ``book.parquet`` with an ``id`` and the features."""
    with contextlib.ExitStack() as files:
        writers: list[Any] = []
        for piece, first in enumerate(range(0, rows, PIECE)):
            frame = simulation.simulate(min(PIECE, rows - first), 1000 + piece)[list(COLUMNS)]
            frame.insert(0, "id", [f"L-{first + i}" for i in range(len(frame))])
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if not writers:
                plain = pacsv.WriteOptions(quoting_style="none")
                csv = pacsv.CSVWriter(folder / "book.csv", table.schema, write_options=plain)
                parquet = pq.ParquetWriter(folder / "book.parquet", table.schema)
                writers = [files.enter_context(csv), files.enter_context(parquet)]
            for writer in writers:
                writer.write_table(table)


def start(model: Path, source: Path, output: Path, *options: str) -> subprocess.Popen[bytes]:
    """``python -m portfolio`` on a book."""
    command = [sys.executable, "-m", "portfolio", str(source), str(output), "--model", str(model), "--json", "--quiet"]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE)


def score(model: Path, source: Path, output: Path, *options: str) -> dict[str, Any]:
    """Run to the end: the summary, the seconds of processor time, and the peak memory of all processes together in MB."""
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    process = start(model, source, output, *options)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError):  # a process of the tree has just ended
            peak = max(peak, proportional_set_size(process.pid))
        time.sleep(0.25)  # asking costs the kernel milliseconds per process
    assert process.stdout is not None
    summary = json.loads(process.stdout.read())
    with contextlib.suppress(
        ChildProcessError
    ):  # whose parent has ended is ours now, and its processor time when it has ended
        while True:
            os.wait()
    worked = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
    return {**summary, "processor_seconds": worked, "peak_megabytes": round(peak / 1e6)}


def killed_half_way(model: Path, source: Path, output: Path, parts: int) -> int:
    """Start, and kill once half of ``parts`` are noted in the journal; returns how many were noted then."""
    process = start(model, source, output)
    journal = Path(f"{output}.parts") / "journal.jsonl"
    noted = 0
    while noted < parts // 2 and process.poll() is None:
        time.sleep(0.02)
        noted = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    return noted


def resumed(model: Path, source: Path, whole: Path, output: Path) -> dict[str, Any]:
    """Kill a run half-way, run the command again, and compare its output with that of an undisturbed run."""
    parts = pq.ParquetFile(whole).num_row_groups
    killed = killed_half_way(model, source, output, parts)
    again = score(model, source, output)
    same = sha256(whole) == sha256(output)
    facts = {key: again[key] for key in ("resumed", "seconds", "peak_megabytes")}
    return {"parts": parts, "killed_after_parts": killed, **facts, "same_bytes": same}


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(engine: str, python: str, source: Path, output: Path) -> tuple[str, float, float]:
    """A library reads a book and writes it again: its version, the seconds, and those of processor time."""
    command = [python, conversion.__file__, engine, str(source), str(output)]
    version, seconds, worked = subprocess.check_output(command, text=True).split()
    output.unlink()
    return version, float(seconds), float(worked)


def measure(model: Path, folder: Path, rows: int, rounds: int, limits: str | None) -> dict[str, Any]:
    """Everything, in one run."""
    simulate(folder, rows)
    rates: Samples = defaultdict(list)
    work: Samples = defaultdict(list)
    peaks: dict[str, int] = defaultdict(int)
    versions = {}
    some = min(rows, USUAL_ROWS)
    for _ in range(rounds):
        rates["predict_proba"].append(usual.predict_proba(model, folder / "book.parquet", some))
        for kind, (source, output) in KINDS.items():
            book, made = folder / source, folder / f"{kind}.{output}"
            runs = ("", "--no-reasons") if output.endswith(".parquet") else ("",)
            for option in runs:
                summary = score(model, book, made, "--force", *filter(None, [option]))
                rates[kind + option].append(summary["rows_per_second"])
                work[kind + option].append(summary["processor_seconds"] / rows * 1e6)
                peaks[kind + option] = max(peaks[kind + option], summary["peak_megabytes"])
            rate, worked = usual.job(model, book, folder / f"usual.{output}", some)
            rates[f"{kind} usual"].append(rate)
            work[f"{kind} usual"].append(worked)
            for engine in conversion.ENGINES if limits else ("pyarrow",):
                python = sys.executable if engine == "pyarrow" or limits is None else limits
                versions[engine], seconds, worked = convert(engine, python, book, folder / f"limit.{output}")
                rates[f"{kind} {engine}"].append(rows / seconds)
                work[f"{kind} {engine}"].append(worked / rows * 1e6)
    found, cost = ({name: statistics.median(values) for name, values in of.items()} for of in (rates, work))
    score(model, folder / "book.csv", folder / "whole.parquet")
    return {
        "rows": rows,
        "rounds": rounds,
        "megabytes_of_csv": round((folder / "book.csv").stat().st_size / 1e6),
        "limits": versions,
        "predict_proba_rows_per_second": round(found["predict_proba"]),
        "kinds": {kind: compared(kind, found, cost, peaks[kind], list(versions)) for kind in KINDS},
        "resumed": resumed(model, folder / "book.csv", folder / "whole.parquet", folder / "again.parquet"),
    }


def compared(
    kind: str, rates: dict[str, float], work: dict[str, float], peak: int, engines: list[str]
) -> dict[str, Any]:
    """The figures of one kind of job: its own, and as ratios to the usual job and to the limits."""
    own = rates[kind]
    plain = kind + "--no-reasons"
    fastest = max(rates[f"{kind} {engine}"] for engine in engines)
    return {
        "rows_per_second": round(own),
        "peak_megabytes": peak,
        "usual_job_rows_per_second": round(rates[f"{kind} usual"]),
        "times_usual_job": round(own / rates[f"{kind} usual"], 2),
        **(
            {"times_usual_job_without_reasons": round(rates[plain] / rates[f"{kind} usual"], 2)}
            if plain in rates
            else {}
        ),
        "times_predict_proba": round(own / rates["predict_proba"], 2),
        "limit_rows_per_second": {engine: round(rates[f"{kind} {engine}"]) for engine in engines},
        "times_limit": {engine: round(own / rates[f"{kind} {engine}"], 2) for engine in engines},
        "times_fastest_limit": round(own / fastest, 2),
        "processor_microseconds_per_row": {
            name: round(work[f"{kind} {name}".removesuffix(" own")], 2) for name in ("own", "usual", *engines)
        },
    }


def kept(found: dict[str, Any]) -> bool:
    """Whether every promise holds: the ratios to the usual job, the memory, and the same bytes after a kill."""
    kinds = found["kinds"]
    ratios = all(kinds[kind]["times_usual_job"] >= least for kind, least in PROMISED.items())
    small = all(kinds[kind]["peak_megabytes"] <= MEGABYTES for kind in kinds)
    return bool(ratios and small and found["resumed"]["same_bytes"])


def main() -> int:
    """Measure, write, print; returns the exit code: 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.portfolio", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="fewer for a short run, where starting weighs more"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limits", metavar="PYTHON", help="a Python with DuckDB and Polars; without it, pyarrow alone")
    parser.add_argument(
        "--folder", type=Path, help="where the books are made, and removed; needs 8 GB for ten million rows"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/portfolio.json"))
    options = parser.parse_args()
    if options.limits and not shutil.which(options.limits):
        parser.error(f"{options.limits}: is not a program")
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(options.model, Path(folder), options.rows, options.rounds, options.limits)
    about = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }
    text = json.dumps(about | found, indent=1)
    options.out.write_text(text + "\n", "utf-8")
    if options.out == page.PORTFOLIO:
        page.write()
    print(text)
    return 0 if kept(found) else 1


if __name__ == "__main__":
    sys.exit(main())
