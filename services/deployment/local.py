"""Both services as local processes, without Docker, and how models are deployed to them.

``make run`` runs ``python -m services.deployment.local``. The pins are in ``run/pin.json``: ``make deploy`` writes the file, and
the model service watches it. The model service is restarted when it ends. When the prediction API ends, all ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from modelbundle.durable import write
from services.deployment.target import DeploymentError, ModelFile, Target, ask, trouble
from services.model.pin import NAMES, NOT_BEFORE, SHARE
from services.predictionlog import event

MODELS = Path("models")
PINS = [f"{role}_{name}" for role in ("MODEL", "CHALLENGER") for name in NAMES]
PINS += [SHARE, NOT_BEFORE]  # run/pin.json has them
EXAMPLE = (Path(__file__).parents[2] / "data" / "example.json").read_text("utf-8").strip()


def main() -> int:
    """Start both services, report in at most six lines, and run until stopped; returns the exit code."""
    began = time.monotonic()
    port = int(os.environ.get("PORT") or 5000)
    run = Path("run")
    if taken(port):
        return complain(f"port {port} is taken: stop what listens there, or choose another with `make run PORT=5001`")
    (run / "data").mkdir(parents=True, exist_ok=True)
    pin = run / "pin.json"
    if not pin.exists():
        try:
            first = first_model(os.environ.get("MODEL", ""))
            sha256 = hashlib.sha256(first.read_bytes()).hexdigest()
        except (DeploymentError, OSError) as error:
            return complain(str(error))
        write_json(pin, {"file": first.name, "sha256": sha256})
    services = Services(run, port, free_port())
    code = services.start(began)
    return services.stay() if code is None else code


def first_model(named: str) -> Path:
    """The model to begin with: ``named``, a file of ``models/``, or else the only one; raises :class:`DeploymentError`."""
    if named:
        if Path(named).parent != MODELS or not Path(named).is_file():
            raise DeploymentError(f"{named} is missing in {MODELS}/: train the model that ships with `make train`")
        return Path(named)
    found = sorted(MODELS.glob("*.bundle"))
    if len(found) != 1:
        raise DeploymentError(
            f"{MODELS}/ has {len(found)} bundles: say the first with `make run MODEL={MODELS}/name.bundle`"
        )
    return found[0]


class Local(Target):
    """The system that ``make run`` started. Its pins are in ``run/pin.json``, which the model service watches."""

    name = "local"

    def __init__(self, run: Path) -> None:
        self.run = run
        try:
            self._facts = json.loads((run / "running.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise DeploymentError("nothing is running here: start it with `make run`") from None
        self.url = self._facts["url"]

    @staticmethod
    def running(run: Path) -> bool:
        """Return whether the process that wrote ``running.json`` lives."""
        try:
            os.kill(json.loads((run / "running.json").read_text("utf-8"))["pid"], 0)
        except (OSError, ValueError, KeyError):
            return False
        return True

    def pin(self) -> ModelFile | None:
        return ModelFile.of(self._pins())

    def challenger(self) -> ModelFile | None:
        return ModelFile.of(self._pins().get("challenger"))

    def _pins(self) -> dict[str, Any]:
        try:
            data = json.loads((self.run / "pin.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def set_pins(self, pin: ModelFile, challenger: ModelFile | None) -> None:
        other = {"challenger": challenger.entry()} if challenger else {}
        write_json(self.run / "pin.json", {**pin.entry(), **other})

    def replicas(self) -> dict[str, dict[str, Any]]:
        return {"local": ask(self.url, "/readyz")}

    def log(self, entry: dict[str, Any]) -> None:
        if data := self._facts.get("data_dir"):
            event.append(Path(data) / "spool", event.DEPLOYMENT, entry)

    def model_trouble(self) -> str | None:
        return trouble(ask(self._facts["model_url"], "/pin"), self.pin())

    def challenger_trouble(self) -> str | None:
        return trouble(ask(self._facts["model_url"], "/pin").get("challenger"), self.challenger())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a small JSON file atomically and durably."""
    write(path, json.dumps(content).encode() + b"\n")


class Services:
    """Runs the two services as child processes."""

    def __init__(self, run: Path, port: int, model_port: int) -> None:
        self.run = run
        self.url = f"http://127.0.0.1:{port}"
        self.model_url = f"http://127.0.0.1:{model_port}"
        self.ending = threading.Event()
        inherited = {k: v for k, v in os.environ.items() if k not in PINS and k != "HOST"}
        common = {**inherited, "PYTHONUNBUFFERED": "1"}
        self.model_env = {**common, "PORT": str(model_port), "MODEL_PIN_FILE": str(run / "pin.json")}
        self.predict_env = {
            **common,
            "PORT": str(port),
            "MODEL_SERVER_URL": self.model_url,
            # the model service is this process's own child, and its models are this user's own files
            "ALLOW_PICKLE": os.environ.get("ALLOW_PICKLE") or ("" if os.environ.get("MODEL_PUBLIC_KEY_FILE") else "1"),
            "STATE_DIR": os.environ.get("STATE_DIR") or str(run / "state"),
            "DATA_DIR": os.environ.get("DATA_DIR") or str(run / "data"),
        }
        logs = os.environ.get("PREDICTION_LOG_URL") != "none"
        self.data_dir = str(Path(self.predict_env["DATA_DIR"]).absolute()) if logs else None
        self.log = run / "services.log"
        self.model: subprocess.Popen[bytes] | None = None
        self.predict: subprocess.Popen[bytes] | None = None

    def spawn(self, module: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start one service, with its output appended to the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=log, stderr=log)

    def start(self, began: float) -> int | None:
        """Start both; returns None when they are ready, otherwise the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.ending.set())
        self.model = self.spawn("services.model", self.model_env)
        self.predict = self.spawn("services.predict", self.predict_env)
        facts = {"pid": os.getpid(), "url": self.url, "model_url": self.model_url, "data_dir": self.data_dir}
        write_json(self.run / "running.json", facts)
        deadline = time.monotonic() + 30
        ready: dict[str, Any] = {}
        while not ready.get("ready"):
            if self.predict.poll() is not None or time.monotonic() > deadline or self.ending.is_set():
                self.end()
                return complain(f"the services did not start; the last lines of {self.log}:\n{tail(self.log)}")
            time.sleep(0.02)
            ready = ask(self.url, "/readyz")
        print(f"PeerLoan is ready after {time.monotonic() - began:.1f} s: {self.url}/")
        print(
            f"  model  {ready['name']} {ready['model_version'][:12]}…, {'confirmed' if ready['confirmed'] else 'unconfirmed'}"
        )
        print(f"  ask    curl {self.url}/predict -H 'Content-Type: application/json' -d '{EXAMPLE}'")
        print("  swap   make deploy BUNDLE=models/other.bundle      back: make rollback")
        print(f"  log    {self.log}", flush=True)
        return None

    def stay(self) -> int:
        """Run until a signal arrives or the prediction API ends; returns the exit code."""
        assert self.model is not None
        assert self.predict is not None
        pause = 0.2
        while not self.ending.wait(0.2):
            if self.predict.poll() is not None:
                self.end()
                return complain(f"the prediction API ended ({self.predict.returncode}); see {self.log}")
            if self.model.poll() is not None:
                self.ending.wait(pause)
                pause = min(pause * 2, 5)
                self.model = self.spawn("services.model", self.model_env)
            else:
                pause = 0.2
        return self.end()

    def end(self) -> int:
        """Stop the API, which drains, and then the model service."""
        for process in (self.predict, self.model):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(35)
                except subprocess.TimeoutExpired:
                    process.kill()
        with contextlib.suppress(OSError):
            (self.run / "running.json").unlink()
        return 0


def taken(port: int) -> bool:
    """Return whether something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def complain(words: str) -> int:
    """Print an error; returns the exit code."""
    print(words, file=sys.stderr)
    return 1


def tail(path: Path, lines: int = 8) -> str:
    """Return the last lines of a file."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
