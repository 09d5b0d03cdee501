"""Starts the subjects, checks that they answer alike, and measures them in turn."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import closed_loop
from benchmarks.subjects import ARROW, CSV
from modelbundle.format import archive
from services.predictionlog import spool

Loans = list[dict[str, Any]]
OTHER_FORMS = {  # what is sent to which server
    "arrow": ("ours", ARROW),
    "arrow unlogged": ("unlogged", ARROW),
    "naive arrow": ("naive", ARROW),
    "csv": ("ours", CSV),
    "csv unlogged": ("unlogged", CSV),
    "naive csv": ("naive", CSV),
}


def free_port() -> int:
    """A port of loopback that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, body: bytes) -> Any:
    """One answer, parsed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    data = json.loads(response.read())
    connection.close()
    return data if response.status == 200 else None


class Subjects:
    """The running servers by name, from the code of ``checkout`` (this one unless told otherwise)."""

    def __init__(self, model: Path, folder: Path, checkout: Path | None = None) -> None:
        self.model = model.resolve()
        self.checkout = checkout
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.processes: list[subprocess.Popen[bytes]] = []

    def spawn(self, name: str, arguments: list[str], **own: str) -> None:
        """One server, its output into a file of its own."""
        port = self.ports.setdefault(name, free_port())
        inherited = {name: value for name, value in os.environ.items() if name not in ("HOST", "WORKERS", "THREADS")}
        environment = {**inherited, "PORT": str(port), "BUNDLE": str(self.model), "OMP_NUM_THREADS": "1", **own}
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", *arguments]
            self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.checkout))

    def start(self, names: list[str]) -> None:
        """Start ``ours`` with its model service, and the others named; ``unlogged`` is ours without the prediction log."""
        self.start_model()
        for name in names:
            if name == "unlogged":
                self.start_ours(name, "none")
            else:
                self.spawn(name, ["benchmarks.subjects", name], MODEL_SERVER_URL=self.model_url())
        self.start_ours()

    def start_model(self) -> None:
        """The model service, with the model pinned."""
        pin = {"MODEL_FILE_NAME": self.model.name, "MODEL_SHA256": archive.digest(self.model.read_bytes())}
        self.spawn("model", ["services.model"], MODEL_DIR=str(self.model.parent), **pin)

    def start_ours(self, name: str = "ours", log: str = "") -> None:
        """The prediction API, with its log in SQLite unless told otherwise; again with the state of the time before."""
        state = {"STATE_DIR": str(self.folder / f"{name}-state"), "DATA_DIR": str(self.folder / f"{name}-data")}
        url = {"MODEL_SERVER_URL": self.model_url(), "PREDICTION_LOG_URL": log}
        self.spawn(name, ["services.predict"], **url, **state)

    def spool(self, name: str = "ours") -> Path:
        """Where one of ours appends to before it is shipped."""
        return self.folder / f"{name}-data" / "spool"

    def settle(self, name: str = "ours", seconds: float = 120.0) -> None:
        """Wait until what we logged is in the database: the next round is another's. Raises :class:`TimeoutError`."""
        deadline = time.monotonic() + seconds
        while spool.size(self.spool(name)):
            if time.monotonic() > deadline:
                raise TimeoutError("the prediction log does not come to an end")
            time.sleep(0.05)

    def model_url(self) -> str:
        """Where the model service is."""
        return f"http://127.0.0.1:{self.ports['model']}"

    def wait(self, body: bytes) -> None:
        """Until each answers; raises :class:`TimeoutError`."""
        deadline = time.monotonic() + 120
        for name, port in self.ports.items():
            if name == "model":
                continue
            answer = None
            while answer is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{name} does not answer; see {self.folder / name}.log")
                time.sleep(0.1)
                with contextlib.suppress(OSError, ValueError):
                    answer = ask(port, body)

    def stop(self) -> None:
        """End all of them."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(40)


@contextlib.contextmanager
def running(model: Path, names: list[str], body: bytes) -> Iterator[Subjects]:
    """The servers, all of them answering."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(model, Path(folder))
        try:
            subjects.start(names)
            subjects.wait(body)
            yield subjects
        finally:
            subjects.stop()


def agree(ports: dict[str, int], loans: Loans, names: list[str]) -> float:
    """The largest difference of a probability between ours and the others; raises :class:`AssertionError` above 1e-12.

    The empty view has no model, and the prototype has its own.
    """
    body = json.dumps(loans).encode()
    ours = np.array([p["predict_proba"] for p in ask(ports["ours"], body)["predictions"]])
    worst = 0.0
    for name in names:
        if name not in ("ours", "unlogged", "empty", "prototype"):
            worst = max(worst, float(np.abs(ours - np.array(ask(ports[name], body)["predict_proba"])).max()))
    if worst > 1e-12:
        raise AssertionError(f"the subjects disagree by {worst}: nothing is measured")
    return worst


def measure(
    subjects: Subjects,
    body: bytes,
    rounds: int,
    seconds: float,
    names: list[str],
    forms: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """Rounds in turn, one subject after the other; medians of rate, p50 and p99 (seconds), and all rates.

    The subjects in :data:`OTHER_FORMS` are sent the same rows in another form: ``forms`` maps its type to the body.

    The log is shipped while the rounds of ours last; what is left of it then is waited for, not measured.
    """
    ports, requests = dict(subjects.ports), {name: closed_loop.post(body) for name in names}
    for name in {*names} & {*OTHER_FORMS}:
        server, kind = OTHER_FORMS[name]
        ports[name], requests[name] = subjects.ports[server], closed_loop.post((forms or {})[kind], kind=kind)
    seen: dict[str, list[closed_loop.Round]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            found = closed_loop.run(ports[name], requests[name], seconds)
            subjects.settle()
            if found.failed:
                raise AssertionError(f"{name}: {found.failed} requests failed: nothing is measured")
            if turn:  # the first round warms up
                seen[name].append(found)
    return {
        name: {
            "requests_per_second": statistics.median(r.rate for r in found),
            "p50": statistics.median(r.percentile(0.5) for r in found),
            "p99": statistics.median(r.percentile(0.99) for r in found),
            "rates": [round(r.rate, 1) for r in found],
        }
        for name, found in seen.items()
    }
