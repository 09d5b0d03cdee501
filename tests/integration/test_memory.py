"""Large bodies whose content would take many times their size: the memory of a replica stays bounded, and comes back."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOAN, Made
from tests.integration.system import System, running, until

BODY = 16 << 20
AT_ONCE = 8  # two workers of four threads
MOST = 400_000_000  # bytes above an idle replica
LEFT = 150_000_000  # bytes above, when it is idle again
PATH = "/predict"
HEADER = ",".join(LOAN).encode()
ROW = json.dumps(LOAN).encode()


def filled(piece: bytes, before: bytes = b"[", after: bytes = b"0]") -> bytes:
    """A body of about the largest size."""
    return before + piece * ((BODY - len(before) - len(after)) // len(piece)) + after


BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "small records": ("application/json", lambda: filled(b"{},", after=b"{}]")),
    "records with one field": ("application/json", lambda: filled(b'{"":0},', after=b"{}]")),
    "wrapped records": ("application/json", lambda: filled(b"{},", b'{"records":[', b"{}]}")),
    "arrays": ("application/json", lambda: filled(b"[],")),
    "deep nesting": ("application/json", lambda: filled(b"[" * 900 + b"]" * 900 + b",")),
    "objects in objects": ("application/json", lambda: filled(b'{"a":' * 200 + b"0" + b"}" * 200 + b",")),
    "repeated keys": ("application/json", lambda: filled(b'"a":1,', b"{", b'"b":1}')),
    "records with repeated keys": ("application/json", lambda: filled(b'{"a":1,"a":2},')),
    "keys": ("application/json", lambda: b"{" + b",".join(b'"%07x":[]' % i for i in range(BODY // 14)) + b"}"),
    "long keys": ("application/json", lambda: filled(b'"' + b"k" * 100_000 + b'":1,', b"{", b'"b":[]}')),
    "long numbers": ("application/json", lambda: filled(b"9" * 4_299 + b",")),
    "short texts": ("application/json", lambda: filled(b'"ab",')),
    "a wide character": ("application/json", lambda: b'["' + "\U0001f600".encode() + b"a" * (BODY - 16) + b'"]'),
    "records": ("application/json", lambda: b"[" + b",".join([ROW] * 10_000) + b"]"),
    "rows with many cells": ("text/csv", lambda: filled(b"ab," * 5_000 + b"\n", HEADER + b"\n", b"")),
    "a row of cells": ("text/csv", lambda: filled(b"ab,", HEADER + b"\n", b"")),
    "a long cell": ("text/csv", lambda: filled(b"a", HEADER + b'\n"', b"")),
    "empty rows": ("text/csv", lambda: filled(b"1,2\n", HEADER + b"\n", b"")),
}


def resident(pids: list[int]) -> int:
    """The memory of processes that is their own, in bytes."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


class Sampler(threading.Thread):
    """Looks at the memory of processes until it is ended; ``most`` is the highest."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.pids = pids
        self.most = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.most = max(self.most, resident(self.pids))

    def end(self) -> int:
        self.over.set()
        self.join()
        return self.most


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, bundles: list[Made]) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("memory")) as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        system.post(LOAN)
        yield system


def send_at_once(port: int, body: bytes, kind: str, statuses: Counter[int]) -> None:
    """The same body on :data:`AT_ONCE` connections."""

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", PATH, body, {"Content-Type": kind})
        response = connection.getresponse()
        answer = response.read()
        assert response.status == 200 or len(answer) < 500_000
        statuses[response.status] += 1
        connection.close()

    senders = [threading.Thread(target=send) for _ in range(AT_ONCE)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


@pytest.mark.attack("memory")
@pytest.mark.slow
def test_memory_stays_bounded_and_comes_back(system: System, record_property: Any) -> None:
    """Each kind of costly body, at once on as many connections as there are threads."""
    workers = system.workers()
    idle = resident(workers)
    statuses: Counter[int] = Counter()
    most: dict[str, int] = {}
    for name, (kind, make) in BODIES.items():
        body = make()
        sampler = Sampler(workers)
        sampler.start()
        before, began = statuses.copy(), time.monotonic()
        send_at_once(system.port, body, kind, statuses)
        most[name] = (sampler.end() - idle) // 1_000_000
        print(f"{name:28} {most[name]:5} MB, {time.monotonic() - began:5.1f} s", dict(statuses - before), flush=True)
    record_property("sent", statuses.total())
    record_property("came", f"at most {max(most.values())} MB above idle")
    assert statuses.total() == AT_ONCE * len(BODIES)
    assert set(statuses) <= {200, 400, 413, 422, 503}
    assert system.workers() == workers
    assert max(most.values()) * 1_000_000 < MOST, most
    until(lambda: resident(workers) - idle < LEFT, 20, "the memory comes back")
    print(f"left: {(resident(workers) - idle) // 1_000_000} MB")
    assert system.post(LOAN)[0] == 200
