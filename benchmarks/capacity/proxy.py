"""What the proxy takes: HAProxy in a container, with the configuration that ships, before a replica on this machine."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import serving
from benchmarks.footprint import processor_seconds, proportional_set_size
from benchmarks.load import closed_loop
from benchmarks.postgres import docker
from benchmarks.serving import free_port

IMAGE = "haproxy:2.6"
FOLDER = Path("deploy/haproxy")
INSIDE = "/usr/local/etc/haproxy"


def configuration(port: int, replica: int) -> str:
    """The configuration that ships, with one replica on a port of loopback instead of a name. Raises :class:`ValueError`."""
    text = (FOLDER / "haproxy.cfg").read_text("utf-8")
    changes = {
        "bind :5000\n": f"bind 127.0.0.1:{port}\n",
        "bind :8405\n": f"bind 127.0.0.1:{free_port()}\n",
        'server-template replica 1-10 "$REPLICAS"': f"server replica 127.0.0.1:{replica}",
        " resolvers network init-addr none resolve-prefer ipv4": "",
    }
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"haproxy.cfg has no {old.strip()}")
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def running(replica: int) -> Iterator[tuple[int, int]]:
    """The port of a proxy and its process. Raises :class:`RuntimeError` where there is no Docker engine on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
        port = free_port()
        (Path(folder) / "haproxy.cfg").write_text(configuration(port, replica), "utf-8")
        Path(folder).chmod(0o755)
        options = ("--network", "host", "-e", "RATE_LIMIT=1000000000", "-v", f"{folder}:{INSIDE}:ro")
        container = docker("run", "-d", *options, IMAGE)
        try:
            yield port, int(docker("inspect", "--format", "{{.State.Pid}}", container))
        finally:
            docker("rm", "--force", "--volumes", container)


def measure(model: Path, requests: dict[str, tuple[int, bytes]], rounds: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of processor time of a request by its name, and megabytes. Raises :class:`RuntimeError` without Docker."""
    first = next(iter(requests.values()))[1].partition(b"\r\n\r\n")[2]
    with serving.running(model, ["unlogged"], first) as subjects, running(subjects.ports["unlogged"]) as (port, pid):
        _wait(port, first)
        took: dict[str, list[float]] = {name: [] for name in requests}
        for number in range(rounds + 1):
            for name, (_, request) in requests.items():
                before = processor_seconds(pid)
                found = closed_loop.run(port, request, seconds)
                if found.failed:
                    raise AssertionError(f"{found.failed} requests failed: nothing is measured")
                if number:  # the first round warms up
                    took[name].append(1e3 * (processor_seconds(pid) - before) / len(found.latencies))
        times = {name: statistics.median(seen) for name, seen in took.items()}
        return {"processor_milliseconds": times, "megabytes": proportional_set_size(pid) / 1e6}


def _wait(port: int, body: bytes, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError):
            if serving.ask(port, body) is not None:
                return
        if time.monotonic() > deadline:
            raise TimeoutError("the proxy does not answer")
        time.sleep(0.1)
