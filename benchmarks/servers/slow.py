"""``make bench-slow``: one loan's p99 while 1,000 connections are slow, beside that without them, for each kind of slowness.

The replica is as `make run` starts it, on loopback, without a proxy. Rounds with and without slow connections take turns; probes
are asked in all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.__main__ import loans
from benchmarks.load import closed_loop
from benchmarks.serving import Subjects

POST = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40000\r\n\r\n"
KINDS = {
    "silent": "",
    "a head without an end": "POST /predict HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "a probe's head without an end": "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "no body": POST.format("/predict"),
    "a part of a body": POST.format("/predict") + " " * 17_000,
    "a body that nobody wants": POST.format("/nothing/here"),
    "a probe's body": "GET /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    "an answer that is not read": closed_loop.post(json.dumps(loans(200)).encode()).decode(),
}
BURST = 100  # connections that are opened at a time
PROBES = ("/healthz", "/readyz", "/metrics")


@contextmanager
def slow(port: int, sent: str, number: int) -> Iterator[None]:
    """So many connections that have sent ``sent`` and do nothing more."""
    with ExitStack() as stack:
        for i in range(number):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(60)
            client.connect(("127.0.0.1", port))
            client.sendall(sent.encode())
            if i % BURST == BURST - 1:
                time.sleep(0.05)
        time.sleep(0.5)
        yield


def probe(port: int, seconds: float, answered: list[bool]) -> None:
    """Ask the probes ten times a second; whether each was answered with 200 within two seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in PROBES:
            try:
                with socket.create_connection(("127.0.0.1", port), 2) as client:
                    client.settimeout(2)
                    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                    answered.append(client.recv(12).endswith(b" 200"))
            except OSError:
                answered.append(False)
        time.sleep(0.1)


def measure(port: int, request: bytes, kind: str, options: argparse.Namespace) -> None:
    """A line for one kind."""
    ratios, failed = [], 0
    probes: list[bool] = []

    def load() -> closed_loop.Round:
        """One round; probes are asked meanwhile."""
        prober = threading.Thread(target=probe, args=(port, options.seconds, probes))
        prober.start()
        found = closed_loop.run(port, request, options.seconds, options.connections)
        prober.join()
        return found

    for _ in range(options.rounds):
        without = load()
        with slow(port, KINDS[kind], options.slow):
            with_them = load()
        failed += without.failed + with_them.failed
        ratios.append(with_them.percentile(0.99) / without.percentile(0.99))
        time.sleep(0.5)
    print(
        f"{kind:32} p99 {statistics.median(ratios):5.2f} x  ({min(ratios):.2f} to {max(ratios):.2f})"
        f"  predictions failed: {failed}  probes answered: {sum(probes)} of {len(probes)}",
        flush=True,
    )


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers.slow", description=__doc__)
    parser.add_argument("--slow", type=int, default=1000, help="connections of each kind (1000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    body = json.dumps(loans(1)[0]).encode()
    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(options.model, Path(folder))
        try:
            subjects.start([])
            subjects.wait(body)
            for kind in KINDS:
                measure(subjects.ports["ours"], closed_loop.post(body), kind, options)
        finally:
            subjects.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
