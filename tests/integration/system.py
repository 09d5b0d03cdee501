"""Real processes on loopback: the two services, and clients that hold them to their word."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load.background import Background

BESIDE = ("shipper", "monitor", "challenger")  # the processes beside the workers
ROOT = Path(__file__).parents[2]


PORTS = range(12_000, 32_000)  # none that the system gives to a client, or to who asks for any
_ports = iter(random.SystemRandom().sample(PORTS, len(PORTS)))


def free_port() -> int:
    """A port of loopback that nothing uses now, and that nobody else in this process was given."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def connected(port: int) -> bool:
    """Whether a server of this machine has a connection on its port, or has not noticed that there is none any more."""
    gone = ("0A", "06")  # it listens, or waits for late packets
    lines = [line.split() for line in Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]]
    return any(int(line[1].rpartition(":")[2], 16) == port and line[3] not in gone for line in lines)


PATIENCE = 120.0  # seconds that a machine may need for what takes one


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of ``condition``; fails the test with ``what`` after ``seconds``, but gives a busy machine its time. A
    server that is not there yet, and a database without its tables, are waited for."""
    deadline = time.monotonic() + max(seconds, PATIENCE)
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, sqlite3.OperationalError):
            if value := condition():
                return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@dataclass
class System:
    """A model service and a replica of the prediction API, each in processes of its own, on the files below ``root``."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    model_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    model: subprocess.Popen[bytes] | None = None
    predict: subprocess.Popen[bytes] | None = None

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def pin(
        self,
        file: str,
        sha256: str,
        challenger: tuple[str, str] | None = None,
        allow: Sequence[str] = (),
        share: float = 0,
        not_before: str = "",
    ) -> None:
        """Write the pin file atomically; ``challenger`` is a file name and its SHA-256, ``allow`` lifts gates of both."""
        temporary = self.root / ".pin"
        lifts = {"allow": list(allow)}
        other = {"file": challenger[0], "sha256": challenger[1], **lifts, "share": share} if challenger else None
        content = {"file": file, "sha256": sha256, **lifts, "challenger": other}
        content |= {"notBefore": not_before} if not_before else {}
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.replace(self.root / "pin.json")

    def pinned(self, sha256: str) -> None:
        """Wait until the model service, which looks at the pin file now and then, serves a model."""
        until(
            lambda: self._get(self.model_port, "/pin")[1]["serving"]["sha256"] == sha256, 20, f"{sha256[:8]} is pinned"
        )

    def start_model(self) -> None:
        own = {
            "MODEL_DIR": str(self.models),
            "MODEL_PIN_FILE": str(self.root / "pin.json"),
            "PORT": str(self.model_port),
        }
        self.model = self._spawn("services.model", own)
        until(lambda: self._get(self.model_port, "/healthz")[0] == 200, 20, "model service is up")

    def start_predict(self, ready: bool = True) -> None:
        own = {
            "MODEL_SERVER_URL": f"http://127.0.0.1:{self.model_port}",
            "STATE_DIR": str(self.state),
            "DATA_DIR": str(self.root / "data"),
            "PORT": str(self.port),
            **self.environment,
        }
        self.predict = self._spawn("services.predict", own)
        if ready:
            until(lambda: self.readyz()[0] == 200, 60, "prediction API is ready")
        else:
            until(lambda: self._get(self.port, "/healthz")[0] == 200, 20, "prediction API lives")

    def _spawn(self, module: str, own: dict[str, str]) -> subprocess.Popen[bytes]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("MODEL_", "CHALLENGER_", "STATE_", "DATA_", "PORT"))
        }
        with (self.root / "services.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**kept, **own},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop_model(self, number: int = signal.SIGTERM) -> None:
        self._stop(self.model, number)

    def stop_predict(self, number: int = signal.SIGTERM) -> None:
        self._stop(self.predict, number)

    @staticmethod
    def _stop(process: subprocess.Popen[bytes] | None, number: int) -> None:
        if process is None or process.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def workers(self) -> list[int]:
        """The process ids of the prediction API's live workers."""
        assert self.predict is not None
        return [pid for pid in children(self.predict.pid) if comm(pid) not in BESIDE]

    def called(self, name: str) -> list[int]:
        """The processes of this system that say in the list of processes what they are: see :data:`BESIDE`."""
        own = f"={self.root}/".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if comm(int(path.name)) == name and own in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return found

    def close(self) -> None:
        self.stop_predict()
        self.stop_model()

    def _get(self, port: int, path: str) -> tuple[int, dict[str, Any]]:
        status, _, body = ask(port, "GET", path)
        return status, json.loads(body)

    def readyz(self) -> tuple[int, dict[str, Any]]:
        return self._get(self.port, "/readyz")

    def post(self, document: Any, path: str = "/predict", **headers: str) -> tuple[int, dict[str, str], Any]:
        """POST a document (bytes as they are, anything else as JSON); status, headers and parsed body."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, found, answer = ask(self.port, "POST", path, body, {"Content-Type": "application/json", **headers})
        return status, found, json.loads(answer)

    def serving(self, sha256: str, seconds: float = 20) -> None:
        """Wait until /readyz says that the replica answers with a model and has confirmed it."""

        def arrived() -> bool:
            facts = self.readyz()[1]
            return facts["model_version"] == sha256 and facts["confirmed"]

        until(arrived, seconds, f"serving {sha256[:8]}")

    def log(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = (self.root / "services.log").read_text(encoding="utf-8", errors="replace").splitlines()
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == event:
                    found.append(entry)
        return found


def comm(pid: int) -> str:
    """What a process is called; nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    except OSError:
        return ""


def parent(pid: int) -> int:
    """The process that a process is a child of."""
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])


def children(pid: int) -> list[int]:
    """The live child processes of a process."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z":
                found.append(int(child))
    return found


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


@dataclass(slots=True)
class Answer:
    """What one request of the load saw. Times are of one monotonic clock."""

    sent: float
    received: float
    status: int
    version: str
    generation: int
    probability: float | None
    detail: str = ""


class Load(Background):
    """Keep-alive clients that ask without pause and write down every answer. They send ``others`` too, in turn."""

    def __init__(self, port: int, document: Any, clients: int = 8, others: Sequence[Any] = (), **headers: str) -> None:
        self.port = port
        self.threads = clients
        self.headers = {"Content-Type": "application/json", **headers}
        self.bodies = [json.dumps(each).encode() for each in (document, *others)]
        self.answers: list[Answer] = []
        self.errors: list[str] = []

    def repeat(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        bodies = itertools.cycle(self.bodies[number % len(self.bodies) :] + self.bodies[: number % len(self.bodies)])
        for body in bodies:
            if self.stopping.is_set():
                break
            sent = time.monotonic()
            try:
                connection.request("POST", "/predict", body, self.headers)
                response = connection.getresponse()
                raw = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                connection.close()
                time.sleep(0.01)
                continue
            received = time.monotonic()
            data = json.loads(raw)
            probability = data["predict_proba"][1] if response.status == 200 else None
            version = response.headers.get("X-Model-Version", "")
            generation = int(response.headers.get("X-Model-Generation", "0"))
            detail = data.get("detail", "")
            self.answers.append(Answer(sent, received, response.status, version, generation, probability, detail))
        connection.close()

    def failed(self) -> list[Any]:
        """Requests that did not get a 200."""
        return [*self.errors, *(a for a in self.answers if a.status != 200)]

    def stale(self) -> list[Answer]:
        """Answers of an older generation to requests that were sent after an answer of a newer one had arrived."""
        first: dict[int, float] = {}
        for answer in self.answers:
            if answer.status == 200:
                first[answer.generation] = min(first.get(answer.generation, answer.received), answer.received)
        return [
            a
            for a in self.answers
            if a.status == 200 and any(g > a.generation and at < a.sent for g, at in first.items())
        ]


@contextlib.contextmanager
def running(root: Path, **environment: str) -> Iterator[System]:
    """A system that is stopped at the end, whatever happens."""
    (root / "models").mkdir(parents=True, exist_ok=True)
    system = System(root, environment)
    try:
        yield system
    finally:
        system.close()
