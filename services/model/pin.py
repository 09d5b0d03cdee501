"""The pin: which file, with which SHA-256, an operator approved."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class PinError(Exception):
    """The pin cannot be followed; the message says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A file name in the model directory, the SHA-256 of its bytes, and this pin's own identity.

    The identity is new whenever a pin is set, so that a model that was pinned, replaced and pinned again is told apart.
    """

    file: str
    sha256: str
    id: str

    @classmethod
    def make(cls, file: object, sha256: object) -> Pin:
        """A new pin; raises :class:`PinError` for names and hashes that cannot be any."""
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise PinError("the file name must be a plain name without directories")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
            raise PinError("the SHA-256 must be 64 hexadecimal digits")
        return cls(file, sha256.lower(), f"{time.time_ns():x}-{uuid.uuid4().hex[:8]}")


def from_environment(environment: Mapping[str, str]) -> tuple[Pin, Path | None]:
    """The pin at start, and the file that it came from where it is one that may change.

    ``MODEL_FILE_NAME`` with ``MODEL_SHA256``, or ``MODEL_PIN_FILE``; both, neither or half of it raises :class:`PinError`.
    """
    file, sha256, path = (environment.get(name, "") for name in ("MODEL_FILE_NAME", "MODEL_SHA256", "MODEL_PIN_FILE"))
    if path and (file or sha256):
        raise PinError("set MODEL_PIN_FILE, or MODEL_FILE_NAME and MODEL_SHA256, not both")
    if path:
        return read(Path(path)), Path(path)
    if not file or not sha256:
        raise PinError("no pin: set MODEL_FILE_NAME and MODEL_SHA256, or MODEL_PIN_FILE")
    return Pin.make(file, sha256), None


def read(path: Path) -> Pin:
    """A pin from a JSON file ``{"file": …, "sha256": …}``; raises :class:`PinError`."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PinError(f"the pin file cannot be read ({error.strerror})") from None
    except ValueError:
        raise PinError("the pin file is not JSON") from None
    if not isinstance(data, dict):
        raise PinError('the pin file must hold {"file": …, "sha256": …}')
    return Pin.make(data.get("file"), data.get("sha256"))
