"""``make bench-servers``: the same application behind our worker, gunicorn's own workers, waitress and granian.

All servers run at the same time and take turns, so a machine whose speed drifts is unkind to all of them alike. Compare the
ratios, which are medians over the turns; absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.__main__ import loans
from benchmarks.footprint import processor_seconds, proportional_set_size
from benchmarks.load import closed_loop
from benchmarks.servers import slow_clients, stopping
from benchmarks.servers.report import Found, tables
from benchmarks.servers.running import OURS, SERVERS, THREADS, WORKERS, Running, installed, make_current
from benchmarks.servers.slow_clients import KINDS

PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round")
    parser.add_argument(
        "--slow-seconds", type=float, default=2.5, help="of healthy requests with each kind of slow client"
    )
    parser.add_argument("--stops", type=int, default=2, help="of each server")
    parser.add_argument("--only", nargs="+", default=[server.name for server in SERVERS])
    options = parser.parse_args()
    servers = [server for server in installed() if server.name in (OURS, *options.only)]
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        make_current(options.model, folder / "state")
        running = [Running(server, folder, folder / "state") for server in servers]
        try:
            found = measure(running, options)
        finally:
            for server in running:
                server.kill()
    print(heading(), *tables(found), sep="\n\n")
    return 0


def measure(running: list[Running], options: argparse.Namespace) -> dict[str, Found]:
    """All that is measured, by the server's name."""
    bodies = {n: json.dumps(loans(n)[0] if n == 1 else loans(n)).encode() for n in (1, 1000)}
    found = {server.name: Found() for server in running}
    for server in running:
        server.wait(bodies[1])
    for rows, body in bodies.items():
        turns(running, found, rows, closed_loop.post(body), options)
    for server in running:
        found[server.name].megabytes = proportional_set_size(server.pid) / 1e6
    for kind, sent in KINDS.items():
        for server in running:
            say(f"{server.name}: {kind}")
            pressure = slow_clients.slow(server.port, sent)
            found[server.name].slow[kind] = slow_clients.measure(
                server.port, server.pid, closed_loop.post(bodies[1]), options.slow_seconds, pressure
            )
            server.wait(bodies[1])
    for server in running:
        say(f"{server.name}: probes")
        busy = stopping.Asking(server.port, closed_loop.post(bodies[1000]), threads=2 * WORKERS * THREADS)
        found[server.name].probes = slow_clients.measure(server.port, server.pid, PROBE, options.slow_seconds, busy)
    for turn in range(options.stops):
        for server in running:
            say(f"{server.name}: stop")
            if turn:
                server.start()
                server.wait(bodies[1])
            found[server.name].stops.append(stopping.measure(server, closed_loop.post(bodies[1000]), options.seconds))
    return found


def turns(
    running: list[Running], found: dict[str, Found], rows: int, request: bytes, options: argparse.Namespace
) -> None:
    """Rounds in turn; raises :class:`AssertionError` where a request fails. The first round warms up."""
    for turn in range(options.rounds + 1):
        say(f"{rows} loans: round {turn} of {options.rounds}")
        for server in running if turn % 2 else reversed(running):
            before = processor_seconds(server.pid)
            seen = closed_loop.run(server.port, request, options.seconds, reopen=True)
            took = processor_seconds(server.pid) - before
            if seen.failed:
                raise AssertionError(f"{server.name}: {seen.failed} requests failed: nothing is measured")
            if turn:
                found[server.name].rounds.setdefault(rows, []).append(seen)
                found[server.name].processor.setdefault(rows, []).append(took / len(seen.latencies))


def say(what: str) -> None:
    """Tell who waits what is being done."""
    print(what, file=sys.stderr, flush=True)


def heading() -> str:
    """When, and with which versions."""
    packages = sorted({server.package for server in installed()} | {"flask"})
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    when = datetime.now(UTC).isoformat(timespec="minutes")
    missing = sorted({server.name for server in SERVERS} - {server.name for server in installed()})
    not_measured = f" Not installed, so not measured: {', '.join(missing)}." if missing else ""
    return f"{when}, Python {platform.python_version()}, {versions}, {WORKERS} processes × {THREADS} threads.{not_measured}"


if __name__ == "__main__":
    sys.exit(main())
