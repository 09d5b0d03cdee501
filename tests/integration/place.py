"""A directory in which the commands of ``make run`` and ``make deploy`` are run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import LOAN
from tests.integration.system import ROOT, ask, free_port, until


class Place:
    """A directory with models, where the commands are started."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("MODEL_", "CHALLENGER_", "STATE_", "DATA_", "PORT"))
        }
        self.environment = {**kept, "PYTHONPATH": str(ROOT), "PORT": str(self.port)}
        self.started: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.started = subprocess.Popen(
            [sys.executable, "-m", "services.deployment.local"],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until(lambda: ask(self.port, "GET", "/readyz")[0] == 200, 60, "make run is ready")

    def stop(self) -> tuple[int, str]:
        assert self.started is not None
        self.started.send_signal(signal.SIGINT)
        output = self.started.communicate(timeout=60)[0]
        return self.started.returncode, output

    def command(self, *arguments: str, module: str = "services.deployment") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=150,
        )

    def version(self, record: str | None = None) -> str:
        """The version that answers a loan now; ``record`` is the loan's ``id``."""
        body = json.dumps(LOAN if record is None else {**LOAN, "id": record}).encode()
        status, headers, answer = ask(self.port, "POST", "/predict", body, {"Content-Type": "application/json"})
        assert status == 200, answer
        return headers["x-model-version"]

    def history(self) -> list[tuple[str, str, str]]:
        lines = (self.root / "run" / "deployments.jsonl").read_text("utf-8").splitlines()
        return [(e["action"], e["file"], e["result"]) for e in map(json.loads, lines)]
