"""``make bench-lookup``: how long /predictions takes until the first byte, on a log of ROWS rows, in SQLite and PostgreSQL.

The rows are what the model answered to simulated loans, again and again, a second apart, under ids of their own and four versions
of the model. Only the rows are made in bulk; the tables and indexes are those of the migrations. PostgreSQL runs in a container.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.__main__ import loans
from benchmarks.postgres import Postgres
from benchmarks.serving import Subjects
from services.predictionlog import database

START = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATES = 1000
AT_ONCE = 10_000
BANDS = ("low", "high")
OTHERS = [digit * 64 for digit in "abc"]  # versions that are not kept; the first had no bands
Asked = Callable[[random.Random], str]


def rows(templates: Sequence[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """``count`` rows, oldest first; the model that answers now has given the newest quarter."""
    versions = [*OTHERS, templates[0]["model_version"]]
    for i in range(count):
        moment = START + timedelta(seconds=i)
        version = versions[4 * i // count]
        yield {
            **templates[i % len(templates)],
            "band": None if version not in OTHERS[1:] else BANDS[i % 20 == 0],
            "prediction_id": identity(i),
            "request_id": f"r{identity(i // 10)[1:]}",
            "record_id": "test" if 4 * i < count and i % 3 == 0 else f"loan-{i % (count // 2 + 1)}",
            "time": moment.isoformat(timespec="microseconds"),
            "model_version": version,
            "generation": 1 + 4 * i // count,
        }


def identity(number: int) -> str:
    """The id of a row: 32 hexadecimal digits that grow with time, as those of the service."""
    return f"{number:012x}{random.Random(number).getrandbits(80):020x}"


def fill(url: str, templates: Sequence[dict[str, Any]], count: int) -> None:
    """Put the rows into a new log, and make its indexes afterwards."""
    engine = database.connect(url)
    database.migrate(engine)
    table = database.predictions
    names = [column.name for column in table.columns]
    with engine.begin() as connection:
        for index in table.indexes:
            index.drop(connection)
        cursor = connection.connection.cursor()
        values = ([row[name] for name in names] for row in rows(templates, count))
        while some := list(islice(values, AT_ONCE)):
            if engine.dialect.name == "sqlite":
                marks = ", ".join("?" * len(names))
                cursor.executemany(f"INSERT INTO predictions ({', '.join(names)}) VALUES ({marks})", some)
            else:
                with cursor.copy(f"COPY predictions ({', '.join(names)}) FROM STDIN") as copy:
                    for row in some:
                        copy.write_row(row)
        for index in table.indexes:
            index.create(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))


def searches(count: int) -> dict[str, Asked]:
    """What is asked, by what it is called: each gives another address at each call."""

    def day(chance: random.Random) -> datetime:
        return START + timedelta(seconds=chance.randrange(count))

    return {
        "the newest": lambda _: "/predictions",
        "by prediction id": lambda chance: f"/predictions?id={identity(chance.randrange(count))}",
        "by the caller's id": lambda chance: f"/predictions?record_id=loan-{chance.randrange(count // 2)}",
        "by request": lambda chance: f"/predictions?request_id=r{identity(chance.randrange(count // 10))[1:]}",
        "by day": lambda chance: f"/predictions?from={(at := day(chance)):%Y-%m-%d}&to={at:%Y-%m-%d}",
        "by model and band": lambda chance: (
            f"/predictions?model={chance.choice(OTHERS[1:])[:12]}&band={chance.choice(['high', 'low'])}"
        ),
        "by a model of long ago": lambda _: f"/predictions?model={OTHERS[0][:12]}",
        "an old record, often asked": lambda _: "/predictions?record_id=test",
        "an id that is not there": lambda chance: f"/predictions?id=none-{chance.random()}",
        "far down": lambda chance: f"/predictions?after={day(chance):%Y-%m-%dT%H:%M:%S}.000000%2B00:00_{'0' * 32}",
        "one prediction": lambda chance: f"/predictions/{identity(chance.randrange(count * 3 // 4 + 1, count))}",
    }


def first_byte(port: int, address: str) -> float:
    """Milliseconds from the request to the head of its answer; raises :class:`AssertionError` unless that is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", address)
    response = connection.getresponse()
    took = 1000 * (time.perf_counter() - began)
    body = response.read()
    connection.close()
    assert response.status == 200, (address, response.status, body[:300])
    return took


def measure(port: int, asked: dict[str, Asked], rounds: int) -> None:
    """A line for each search."""
    for name, address in asked.items():
        chance = random.Random(name)
        taken = [first_byte(port, address(chance)) for _ in range(rounds)]
        rest = sorted(taken[1:])
        print(
            f"{name:26} median {statistics.median(rest):6.1f}  95 % {rest[len(rest) * 95 // 100]:6.1f}"
            f"  slowest {rest[-1]:6.1f}  the first {taken[0]:6.1f} ms",
            flush=True,
        )


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookup", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path("run") if Path("run").is_dir() else None) as folder:
        subjects = Subjects(options.model, Path(folder))
        try:
            subjects.start([])
            subjects.wait(json.dumps(loans(TEMPLATES)).encode())
            subjects.settle()
            with database.connect(f"sqlite:///{folder}/ours-data/predictions.sqlite").connect() as connection:
                templates = [dict(row) for row in connection.execute(sa.select(database.predictions)).mappings()]
            for kind in ("postgresql", "sqlite") if options.only is None else (options.only,):
                postgres = Postgres() if kind == "postgresql" else None
                url = postgres.url if postgres else f"sqlite:///{folder}/many.sqlite"
                try:
                    if postgres:
                        postgres.wait()
                    began = time.perf_counter()
                    fill(url, templates, options.rows)
                    print(f"{kind}: {options.rows:,} rows, made in {time.perf_counter() - began:.0f} s")
                    subjects.start_ours(kind, url)
                    subjects.wait(json.dumps(loans(1)[0]).encode())
                    measure(subjects.ports[kind], searches(options.rows), options.rounds)
                finally:
                    if postgres:
                        postgres.remove()
        finally:
            subjects.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
