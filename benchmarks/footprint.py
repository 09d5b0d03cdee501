"""What a replica weighs and how soon it is ready: proportional set size of its process tree, and seconds from start to ready."""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.serving import Subjects, ask


def tree(pid: int) -> list[int]:
    """A process and all below it, whichever thread started them."""
    children = [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text("utf-8").split()
    ]
    return [pid, *(p for child in children for p in tree(int(child)))]


def proportional_set_size(pid: int) -> int:
    """Bytes of memory of a process tree, shared pages divided among those who share them."""
    total = 0
    for member in tree(pid):
        lines = Path(f"/proc/{member}/smaps_rollup").read_text("utf-8").splitlines()
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that the living processes of a tree have taken so far."""
    return sum(own_seconds(member) for member in tree(pid))


def own_seconds(pid: int) -> float:
    """Seconds of processor time that one process has taken so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")  # in user mode and in the kernel


def measure(model: Path, body: bytes, starts: int = 5) -> dict[str, Any]:
    """Megabytes of a replica after 2,000 requests, and the median seconds to ready with a last known good."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(model, Path(folder))
        try:
            subjects.start([])
            subjects.wait(body)
            took = []
            for _ in range(starts):
                ours = subjects.processes.pop()
                ours.terminate()
                ours.wait(40)
                began = time.monotonic()
                subjects.start_ours()
                while not _ready(subjects.ports["ours"]):
                    time.sleep(0.005)
                took.append(time.monotonic() - began)
            for _ in range(2000):
                ask(subjects.ports["ours"], body)
            subjects.settle()
            size = proportional_set_size(subjects.processes[-1].pid)
        finally:
            subjects.stop()
    return {"megabytes": size / 1e6, "seconds_to_ready": statistics.median(took)}


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    with contextlib.suppress(OSError):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False
