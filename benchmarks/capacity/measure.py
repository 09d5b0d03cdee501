"""What a replica takes of processor, memory and disk: the member ``capacity`` of ``benchmarks/results.json``.

Processor time depends less than a rate does on what else this machine is doing.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import serving
from benchmarks.capacity import proxy
from benchmarks.footprint import own_seconds, processor_seconds, proportional_set_size, tree
from benchmarks.load import closed_loop
from benchmarks.serving import Subjects

IDLE = 10.0  # seconds
SHORTER = 5  # times are the rounds of batches: their rows take longer into the log than they take to answer
Requests = dict[str, tuple[int, bytes]]  # the rows and the bytes of each kind of request, by its name
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Turn:
    """One round. Times are processor time of a request, in milliseconds; ``others`` is what other work took, in cores.

    ``shipping_milliseconds`` is that of the process that brings rows from the spool to the database, until the last is there.
    """

    requests_per_second: float
    answering_milliseconds: float
    shipping_milliseconds: float
    client_milliseconds: float
    others: float


def shipper(pid: int) -> int:
    """The process below ``pid`` that ships the log. Raises :class:`ValueError` unless there is one."""
    (found,) = (p for p in tree(pid) if Path(f"/proc/{p}/comm").read_text("utf-8").strip() == "shipper")
    return found


def machine_seconds() -> float:
    """Seconds of processor time that this machine has worked since it started, without waiting."""
    names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]
    values = Path("/proc/stat").read_text("utf-8").splitlines()[0].split()[1 : len(names) + 1]
    times = dict(zip(names, map(int, values), strict=True))
    return sum(took for name, took in times.items() if name not in ("idle", "iowait")) / TICKS


def turn(subjects: Subjects, request: bytes, seconds: float) -> Turn:
    """Ask without pause for ``seconds``, then wait for the log. Raises :class:`AssertionError` where a request fails."""
    pid = subjects.processes[-1].pid
    ships = shipper(pid)
    shipped, replica = own_seconds(ships), processor_seconds(pid)
    began, client, machine = time.monotonic(), time.process_time(), machine_seconds()
    found = closed_loop.run(subjects.ports["ours"], request, seconds)
    took, client = time.monotonic() - began, time.process_time() - client
    own = processor_seconds(pid) - replica
    answering = own - (own_seconds(ships) - shipped)
    own += client
    others = max(0.0, machine_seconds() - machine - own) / took
    subjects.settle()
    if found.failed:
        raise AssertionError(f"{found.failed} requests failed: nothing is measured")
    shipping = own_seconds(ships) - shipped
    each = 1e3 / len(found.latencies)
    return Turn(found.rate, answering * each, shipping * each, client * each, others)


def measure(model: Path, requests: Requests, rounds: int, seconds: float, before: dict[str, Any]) -> dict[str, Any]:
    """All that is measured. Where no Docker engine is, the proxy's figures are those of ``before``, measured earlier."""
    found = replica(model, requests, rounds, seconds)
    try:
        found["proxy"] = proxy.measure(model, requests, rounds, seconds)
    except RuntimeError as error:
        print(f"{error}: the proxy's figures stay as they are", file=sys.stderr)
        found["proxy"] = before["proxy"]
    return found


def replica(model: Path, requests: Requests, rounds: int, seconds: float) -> dict[str, Any]:
    """Rounds in turn, medians, with the log in SQLite and without a proxy."""
    first = next(iter(requests.values()))[1].partition(b"\r\n\r\n")[2]
    with serving.running(model, [], first) as subjects:
        turns: dict[str, list[Turn]] = {name: [] for name in requests}
        memory = 0
        for number in range(rounds + 1):
            for name, (rows, request) in requests.items():
                seen = turn(subjects, request, seconds if rows == 1 else seconds / SHORTER)
                if number:  # the first round warms up
                    turns[name].append(seen)
                memory = max(memory, proportional_set_size(subjects.processes[-1].pid))
        kinds = {name: {**medians(found), "rows": requests[name][0]} for name, found in turns.items()}
        return {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "cores": len(os.sched_getaffinity(0)),
            **kinds,
            "idle": idle(subjects),
            "megabytes": memory / 1e6,
            "model_service_megabytes": proportional_set_size(subjects.processes[0].pid) / 1e6,
            "log": log(subjects),
        }


def medians(turns: list[Turn]) -> dict[str, float]:
    """The median of each figure."""
    facts = [asdict(seen) for seen in turns]
    return {name: statistics.median(one[name] for one in facts) for name in facts[0]}


def idle(subjects: Subjects) -> dict[str, float]:
    """Cores that the replica and the model service take while nobody asks."""
    pids = {"replica_cores": subjects.processes[-1].pid, "model_service_cores": subjects.processes[0].pid}
    before = {name: processor_seconds(pid) for name, pid in pids.items()}
    time.sleep(IDLE)
    return {name: (processor_seconds(pid) - before[name]) / IDLE for name, pid in pids.items()}


def log(subjects: Subjects) -> dict[str, float]:
    """Bytes of a row in the database with its indexes, and the rows from which that is known."""
    path = subjects.folder / "ours-data" / "predictions.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (rows,) = connection.execute("SELECT count(*) FROM predictions").fetchone()
    connection.close()
    return {"bytes_per_row": path.stat().st_size / rows, "rows": rows}
