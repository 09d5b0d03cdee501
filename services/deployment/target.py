"""Where a deployment goes: local processes or a compose project. Each keeps the pin in its own way."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelbundle.durable import write
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
    def challenger(self) -> Pin | None:
        """The challenger's pin that is set now, if there is one."""

    @abstractmethod
    def set_pins(self, pin: Pin, challenger: Pin | None) -> None:
        """Set both pins in one step and have the model service follow them; raises :class:`DeploymentError`."""

    @abstractmethod
    def model_trouble(self) -> str | None:
        """Why the model service does not serve the pin, where it says so."""

    @abstractmethod
    def challenger_trouble(self) -> str | None:
        """The same of the challenger's pin."""

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
            self._facts = json.loads((run / "running.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise DeploymentError("nothing is running here: start it with `make run`") from None
        self.url = self._facts["url"]

    @staticmethod
    def running(run: Path) -> bool:
        """Whether the supervisor that wrote ``running.json`` lives."""
        try:
            os.kill(json.loads((run / "running.json").read_text("utf-8"))["pid"], 0)
        except (OSError, ValueError, KeyError):
            return False
        return True

    def pin(self) -> Pin | None:
        return _pin(self._pins())

    def challenger(self) -> Pin | None:
        return _pin(self._pins().get("challenger"))

    def _pins(self) -> dict[str, Any]:
        try:
            data = json.loads((self.run / "pin.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def set_pins(self, pin: Pin, challenger: Pin | None) -> None:
        other = {"challenger": asdict(challenger)} if challenger else {}
        write(self.run / "pin.json", f"{json.dumps({**asdict(pin), **other})}\n".encode())

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
        return trouble(self._served(), self.pin())

    def challenger_trouble(self) -> str | None:
        return trouble(self._served().get("challenger"), self.challenger())

    def _served(self) -> dict[str, Any]:
        import requests

        try:
            return dict(requests.get(f"{self._facts['model_url']}/pin", timeout=2).json())
        except (requests.RequestException, ValueError):
            return {}


def trouble(served: Any, pin: Pin | None) -> str | None:
    """Why a pin is not served, from what the model service says at ``/pin``; None while it still speaks of another pin."""
    return served.get("why_not") if served and pin and served.get("pinned") == asdict(pin) else None


def _pin(data: Any) -> Pin | None:
    try:
        return Pin(data["file"], data["sha256"])
    except (KeyError, TypeError):
        return None
