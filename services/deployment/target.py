"""The interface of a running system that models are deployed to. Each kind of system stores the pins in its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import requests

from services.model.pin import PinError, parse_share


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a pin says: a file name in ``models/``, its SHA-256, the gates that it lifts, a challenger's share in percent, and the
    instant from which a champion answers, RFC 3339 in UTC; empty: at once."""

    file: str
    sha256: str
    allow: tuple[str, ...] = ()
    share: float = 0.0
    not_before: str = ""

    def entry(self) -> dict[str, Any]:
        """Return the pin as JSON, as the pin file has it."""
        more: dict[str, Any] = {"allow": list(self.allow)} if self.allow else {}
        more |= {"share": self.share} if self.share else {}
        more |= {"notBefore": self.not_before} if self.not_before else {}
        return {"file": self.file, "sha256": self.sha256, **more}

    @classmethod
    def of(cls, entry: Any) -> ModelFile | None:
        """Return the pin of such JSON; None for JSON that names no model."""
        try:
            share, not_before = parse_share(entry.get("share")), str(entry.get("notBefore") or "")
            return cls(entry["file"], entry["sha256"], tuple(entry.get("allow") or ()), share, not_before)
        except (KeyError, TypeError, AttributeError, PinError):
            return None

    def same_model(self, other: ModelFile | None) -> bool:
        """Return whether another pin names the same file and bytes, whatever gates it lifts and whatever its share."""
        return other is not None and (self.file, self.sha256) == (other.file, other.sha256)


class DeploymentError(Exception):
    """The deployment cannot be done, or the model was refused; the message is one line."""


class Target(ABC):
    """A running system whose pins can be read and set."""

    name: str
    url: str

    @abstractmethod
    def pin(self) -> ModelFile | None:
        """Return the champion's pin; None before the first."""

    @abstractmethod
    def challenger(self) -> ModelFile | None:
        """Return the challenger's pin, if there is one."""

    @abstractmethod
    def set_pins(self, pin: ModelFile, challenger: ModelFile | None) -> None:
        """Set both pins in one step, so that the model service follows them; raises :class:`DeploymentError`."""

    @abstractmethod
    def model_trouble(self) -> str | None:
        """Return why the model service does not serve the champion's pin, if it says so."""

    @abstractmethod
    def challenger_trouble(self) -> str | None:
        """Return why the model service does not serve the challenger's pin, if it says so."""

    @abstractmethod
    def replicas(self) -> dict[str, dict[str, Any]]:
        """Return the answer of each replica at ``/readyz``, by the replica's name; empty for a replica that does not answer."""

    @abstractmethod
    def log(self, entry: dict[str, Any]) -> None:
        """Add a deployment to the prediction log; raises :class:`DeploymentError` or :class:`OSError`."""


def trouble(served: Any, pin: ModelFile | None) -> str | None:
    """Return why ``pin`` is not served, from the model service's answer at ``/pin``; None while that is about another pin."""
    return served.get("why_not") if served and pin and ModelFile.of(served.get("pinned")) == pin else None


def ask(url: str, path: str) -> dict[str, Any]:
    """Return the JSON object that a service answers at ``path``; empty when it does not answer with one."""
    try:
        data = requests.get(url + path, timeout=2).json()
    except (requests.RequestException, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
