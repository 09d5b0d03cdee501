"""A book of millions of simulated loans: rows per second, peak memory, against scikit-learn, and after a ``kill -9`` half-way.

``make score-10m``. The book is simulated in pieces, each from a seed of its own, so that nothing of it is ever whole in memory.
scikit-learn is timed on the same rows, already in memory as frames, its own ``predict_proba`` alone; and as the job that people
write: pandas reads the CSV, the pipeline predicts, Parquet is written.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.capacity import page
from benchmarks.footprint import proportional_set_size
from late_payers import simulation
from late_payers.features import COLUMNS
from modelbundle.format import archive, bundle
from modelbundle.format.unpickling import unpickle

PIECE = 250_000
NAIVE = 1_000_000
PACKAGES = ("scikit-learn", "interpret-core", "pandas", "numpy", "pyarrow")


def simulate(folder: Path, rows: int) -> None:
    """Write ``book.csv`` and ``book.parquet`` with an ``id`` and the features."""
    csv = parquet = None
    for piece, first in enumerate(range(0, rows, PIECE)):
        frame = simulation.simulate(min(PIECE, rows - first), 1000 + piece)[list(COLUMNS)]
        frame.insert(0, "id", [f"L-{first + i}" for i in range(len(frame))])
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if csv is None or parquet is None:
            csv = pacsv.CSVWriter(
                folder / "book.csv", table.schema, write_options=pacsv.WriteOptions(quoting_style="none")
            )
            parquet = pq.ParquetWriter(folder / "book.parquet", table.schema)
        csv.write_table(table)
        parquet.write_table(table)
    assert csv is not None
    assert parquet is not None
    csv.close()
    parquet.close()


def start(model: Path, source: Path, output: Path, *options: str) -> subprocess.Popen[bytes]:
    """``python -m portfolio`` on a book."""
    command = [sys.executable, "-m", "portfolio", str(source), str(output), "--model", str(model), "--json", "--quiet"]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE)


def score(model: Path, source: Path, output: Path, *options: str) -> dict[str, Any]:
    """Run to the end: the summary, and the peak memory of all processes together in MB."""
    process = start(model, source, output, *options)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError):  # a process of the tree has just ended
            peak = max(peak, proportional_set_size(process.pid))
        time.sleep(0.5)  # asking costs the kernel milliseconds per process
    assert process.stdout is not None
    summary = json.loads(process.stdout.read())
    return {**summary, "peak_megabytes": round(peak / 1e6)}


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


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def frames(book: Path) -> Iterator[pd.DataFrame]:
    """The features of a Parquet book, piece by piece."""
    for batch in pq.ParquetFile(book).iter_batches(PIECE, columns=list(COLUMNS)):
        yield batch.to_pandas()


def own_seconds(model: Path, book: Path) -> float:
    """How long scikit-learn's ``predict_proba`` takes for all rows, reading and writing not counted."""
    pipeline = unpickle(archive.unpack(model.read_bytes())[bundle.PIPELINE])
    total = 0.0
    for frame in frames(book):
        began = time.perf_counter()
        pipeline.predict_proba(frame)
        total += time.perf_counter() - began
    return total


def usual_job(model: Path, book: Path, output: Path, rows: int) -> float:
    """Rows per second of the job as it is usually written, on the first ``rows``; without reasons, checks or restarts."""
    pipeline = unpickle(archive.unpack(model.read_bytes())[bundle.PIPELINE])
    began = time.perf_counter()
    writer = None
    for frame in pd.read_csv(book, chunksize=PIECE, nrows=rows):
        frame["probability"] = pipeline.predict_proba(frame[list(COLUMNS)])[:, 1]
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(output, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return rows / (time.perf_counter() - began)


def measure(model: Path, folder: Path, rows: int) -> dict[str, Any]:
    """Everything, in one run."""
    simulate(folder, rows)
    csv, parquet = folder / "book.csv", folder / "book.parquet"
    found: dict[str, Any] = {"rows": rows, "megabytes_of_csv": round(csv.stat().st_size / 1e6)}
    found["csv"] = score(model, csv, folder / "a" / "scored.parquet")
    own = [own_seconds(model, parquet)]
    found["csv_without_reasons"] = score(model, csv, folder / "plain" / "scored.parquet", "--no-reasons")
    own.append(own_seconds(model, parquet))
    found["parquet"] = score(model, parquet, folder / "p" / "scored.parquet")
    found["parquet_without_reasons"] = score(model, parquet, folder / "q" / "scored.parquet", "--no-reasons")
    own.append(own_seconds(model, parquet))
    found["csv_to_csv"] = score(model, csv, folder / "c" / "scored.csv")
    usual = usual_job(model, csv, folder / "usual.parquet", min(rows, NAIVE))
    own_rate = rows / sorted(own)[1]
    found["scikit_learn_predict_proba"] = {"rows_per_second": round(own_rate), "seconds": [round(s, 2) for s in own]}
    found["usual_job"] = {"rows_per_second": round(usual), "rows": min(rows, NAIVE)}
    parts = pq.ParquetFile(folder / "a" / "scored.parquet").num_row_groups
    found["killed_after_parts"] = killed_half_way(model, csv, folder / "b" / "scored.parquet", parts)
    found["parts"] = parts
    found["resumed"] = score(model, csv, folder / "b" / "scored.parquet")
    found["same_bytes"] = sha256(folder / "a" / "scored.parquet") == sha256(folder / "b" / "scored.parquet")
    runs = ("csv", "csv_without_reasons", "parquet", "parquet_without_reasons", "csv_to_csv")
    found["times_predict_proba"] = {name: round(found[name]["rows_per_second"] / own_rate, 2) for name in runs}
    found["times_usual_job"] = {name: round(found[name]["rows_per_second"] / usual, 1) for name in runs}
    return found


def main() -> int:
    """Measure, write, print; returns the exit code: 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.portfolio", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/portfolio.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.model, Path(folder), options.rows)
    for name in ("csv", "csv_without_reasons", "parquet", "parquet_without_reasons", "csv_to_csv", "resumed"):
        for key in ("output", "rejects", "model_version"):
            del found[name][key]
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
    return 0 if found["same_bytes"] and found["csv"]["peak_megabytes"] <= 500 else 1


if __name__ == "__main__":
    sys.exit(main())
