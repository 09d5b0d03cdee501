"""The servers that are compared: how each is started, and the running ones."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.footprint import tree
from benchmarks.serving import ask, free_port
from modelbundle.format import archive
from services.predict.rollout.protocol import Candidate
from services.predict.rollout.state_dir import StateDir

OURS = "ours"
WORKERS, THREADS = 2, 4
APPLICATION = "benchmarks.servers.application"
GUNICORN = ["gunicorn", "-c", "python:benchmarks.servers.gunicorn_conf", f"{APPLICATION}:create()"]
GRANIAN = ["granian", "--interface", "wsgi", "--http", "1", "--workers", str(WORKERS), "--no-ws"]
GRANIAN += ["--blocking-threads", str(THREADS), "--backlog", "2048", "--workers-kill-timeout", "30"]
GRANIAN += ["--log-level", "warning", "--factory", f"{APPLICATION}:create_started"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server: its name in the table, the package that it needs, and the module that starts it.

    ``without`` says what our worker gives the application and this server does not; ``worker_class`` is gunicorn's.
    """

    name: str
    package: str
    module: list[str]
    without: str = ""
    worker_class: str = ""


LANES = "a lane for probes, a bounded queue"
SERVERS = (
    Server(OURS, "gunicorn", GUNICORN, worker_class=OURS),
    Server("gthread", "gunicorn", GUNICORN, f"deadlines, {LANES}, accept balance", "gthread"),
    Server("sync", "gunicorn", GUNICORN, f"kept connections, deadlines, {LANES}", "sync"),
    Server("gevent", "gevent", GUNICORN, f"deadlines, {LANES}, accept balance, shared memory", "gevent"),
    Server(
        "waitress",
        "waitress",
        ["benchmarks.servers.waitress_forked"],
        f"processes that are replaced, deadlines (120 s of silence), {LANES}, accept balance",
    ),
    Server(
        "granian",
        "granian",
        GRANIAN,
        f"deadlines for body and answer, {LANES}, accept balance, shared memory, hooks in workers, a watchdog",
    ),
)


def installed() -> list[Server]:
    """Those whose package is there."""
    return [server for server in SERVERS if importlib.util.find_spec(server.package)]


class Running:
    """One server as a process of its own, with directories of its own in ``folder``; ``state_dir`` has the current model."""

    def __init__(self, server: Server, folder: Path, state_dir: Path) -> None:
        self.name = server.name
        self.port = free_port()
        self._server = server
        self._log = folder / f"{server.name}.log"
        metrics, data = folder / f"{server.name}-metrics", folder / f"{server.name}-data"
        metrics.mkdir()
        data.mkdir()
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "STATE_DIR": str(state_dir), "DATA_DIR": str(data)}
        own |= {"WORKERS": str(WORKERS), "THREADS": str(THREADS), "PREDICTION_LOG_URL": "none"}
        own |= {"PROMETHEUS_MULTIPROC_DIR": str(metrics), "WORKER_CLASS": server.worker_class, "OMP_NUM_THREADS": "1"}
        own |= {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(1 << 20), "GRANIAN_PORT": str(self.port)}
        self._environment = {**os.environ, **own}
        self.start()

    @property
    def pid(self) -> int:
        """Of the first process, which all others descend from."""
        return self._process.pid

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", *self._server.module]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def wait(self, body: bytes, seconds: float = 60.0) -> None:
        """Wait until it answers ``body``; raises :class:`TimeoutError`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if ask(self.port, body) is not None:
                    return
            except (OSError, ValueError) as error:
                why = error
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"{self.name} does not answer ({why}): {self._log.read_text('utf-8')[-2000:]}")
            time.sleep(0.05)

    def terminate(self, seconds: float) -> float | None:
        """Send SIGTERM; returns the seconds until the process has ended. After ``seconds`` it is killed: None."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        return time.monotonic() - began

    def kill(self) -> None:
        """End it and all its workers."""
        if self._process.poll() is None:
            for member in reversed(tree(self.pid)):
                os.kill(member, signal.SIGKILL)
            self._process.wait()


def make_current(model: Path, state_dir: Path) -> None:
    """Make a model the current one of ``state_dir``, as the leader of a replica does in the end."""
    store = StateDir(state_dir)
    sha256 = archive.digest(model.read_bytes())
    shutil.copy(model, store.bundle(sha256))
    store.commit(Candidate("benchmark", sha256, store.current().number))
    store.settle()
