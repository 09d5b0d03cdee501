"""Where a deployment goes: local processes or a compose project. Each keeps the pin in its own way."""

from __future__ import annotations

import json
import os
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.predictionlog import event


@dataclass(frozen=True, slots=True)
class Pin:
    """A file name in ``models/`` and its SHA-256."""

    file: str
    sha256: str


class DeploymentError(Exception):
    """What stands in the way, in one line."""


class Target(ABC):
    """A running system whose pin can be read and set."""

    name: str
    url: str

    @abstractmethod
    def pin(self) -> Pin | None:
        """The pin that is set now; None before the first."""

    @abstractmethod
    def set_pin(self, pin: Pin) -> None:
        """Set the pin and have the model service follow it; raises :class:`DeploymentError`."""

    @abstractmethod
    def model_trouble(self) -> str | None:
        """Why the model service does not serve the pin, where it says so."""

    @abstractmethod
    def replicas(self) -> dict[str, dict[str, Any]]:
        """What each replica says at ``/readyz``, by its name; empty facts of one that says nothing."""

    @abstractmethod
    def log(self, entry: dict[str, Any]) -> None:
        """Put a deployment on its way into the prediction log; raises :class:`DeploymentError` or :class:`OSError`."""


class Local(Target):
    """What ``make run`` started: the pin is ``run/pin.json``, which the model service watches."""

    name = "local"

    def __init__(self, run: Path) -> None:
        self.run = run
        try:
            self._facts = json.loads((run / "running.json").read_text())
        except (OSError, ValueError):
            raise DeploymentError("nothing is running here: start it with `make run`") from None
        self.url = self._facts["url"]

    @staticmethod
    def running(run: Path) -> bool:
        """Whether the supervisor that wrote ``running.json`` lives."""
        try:
            os.kill(json.loads((run / "running.json").read_text())["pid"], 0)
        except (OSError, ValueError, KeyError):
            return False
        return True

    def pin(self) -> Pin | None:
        try:
            data = json.loads((self.run / "pin.json").read_text())
        except (OSError, ValueError):
            return None
        return Pin(data["file"], data["sha256"])

    def set_pin(self, pin: Pin) -> None:
        replace_text(self.run / "pin.json", json.dumps({"file": pin.file, "sha256": pin.sha256}) + "\n")

    def replicas(self) -> dict[str, dict[str, Any]]:
        import requests

        try:
            return {"local": dict(requests.get(f"{self.url}/readyz", timeout=2).json())}
        except (requests.RequestException, ValueError):
            return {"local": {}}

    def log(self, entry: dict[str, Any]) -> None:
        if data := self._facts.get("data_dir"):
            event.append(Path(data) / "spool", event.DEPLOYMENT, entry)

    def model_trouble(self) -> str | None:
        import requests

        try:
            return requests.get(f"{self._facts['model_url']}/pin", timeout=2).json().get("why_not")  # type: ignore[no-any-return]
        except (requests.RequestException, ValueError):
            return None


def replace_text(path: Path, text: str) -> None:
    """Replace a small text file atomically and durably."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
