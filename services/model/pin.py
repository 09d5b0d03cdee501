"""The pin: which file, with which SHA-256, an operator approved."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from modelbundle import instant
from modelbundle.format import allowance
from modelbundle.format.allowance import AllowanceError
from modelbundle.instant import InstantError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
NAMES = ("FILE_NAME", "SHA256", "ALLOW")  # of the variables, after MODEL_ and CHALLENGER_
SHARE = "CHALLENGER_SHARE"
NOT_BEFORE = "MODEL_NOT_BEFORE"
MOST_SHARE = 50.0  # percent: beyond it, the challenger would be the champion


class PinError(Exception):
    """The pin cannot be followed; the message says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A file name in the model directory, the SHA-256 of its bytes, and this pin's own identity.

    The identity is new whenever a pin is set, so that a model that was pinned, replaced and pinned again is told apart.
    ``allow`` are the gates that the operator lifts for this pin (:mod:`modelbundle.format.allowance`). ``share`` is how many
    percent of the records a challenger answers; 0: it is scored silently. A champion has none. ``not_before`` is the instant from
    which a champion answers (:mod:`modelbundle.instant`); empty: at once.
    """

    file: str
    sha256: str
    id: str
    allow: tuple[str, ...] = ()
    share: float = 0.0
    not_before: str = ""

    @classmethod
    def make(
        cls, file: object, sha256: object, allow: object = (), share: object = None, not_before: object = None
    ) -> Pin:
        """A new pin; raises :class:`PinError` for names, hashes, gates, shares and instants that cannot be any."""
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise PinError("the file name must be a plain name without directories")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
            raise PinError("the SHA-256 must be 64 hexadecimal digits")
        try:
            lifted = allowance.parse(allow)
        except AllowanceError as error:
            raise PinError(f"the allowance {error}") from None
        try:
            instant.bound(instant.parse(not_before), time.time())
        except InstantError as error:
            raise PinError(f"the pin's notBefore {error}") from None
        own = f"{time.time_ns():x}-{uuid.uuid4().hex[:8]}"
        return cls(file, sha256.lower(), own, lifted, parse_share(share), str(not_before or ""))

    def same(self, other: object) -> bool:
        """Whether another pin names the same file, bytes, share and instant and lifts the same gates, whenever it was set."""
        return isinstance(other, Pin) and replace(self, id="") == replace(other, id="")

    def named(self) -> dict[str, object]:
        """The pin as ``/pin`` says it."""
        due = {"notBefore": self.not_before} if self.not_before else {}
        return {"file": self.file, "sha256": self.sha256, "allow": list(self.allow), **due}


def parse_share(value: object) -> float:
    """A share in percent, as a number or as text; 0 for nothing. Raises :class:`PinError` unless it is from 0 to 50."""
    if value is None or value == "":
        return 0.0
    try:
        share = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        share = math.nan
    if not 0 <= share <= MOST_SHARE:
        raise PinError(f"the share must be a percentage above 0 and at most {MOST_SHARE:g}; 0 is silent")
    return share


@dataclass(frozen=True, slots=True)
class Pins:
    """The champion's pin, and the challenger's: None where there is none, an error where it cannot be one.

    What is wrong with a challenger is said, and does not make the champion's pin invalid.
    """

    champion: Pin
    challenger: Pin | PinError | None = None


def from_environment(environment: Mapping[str, str]) -> tuple[Pins, Path | None]:
    """The pins at start, and the file that they came from where it is one that may change.

    ``MODEL_FILE_NAME`` with ``MODEL_SHA256`` and perhaps ``MODEL_ALLOW`` and ``MODEL_NOT_BEFORE``, or ``MODEL_PIN_FILE``; both,
    neither or half of it raises :class:`PinError`. The challenger is named by ``CHALLENGER_FILE_NAME``, ``CHALLENGER_SHA256``,
    ``CHALLENGER_ALLOW`` and ``CHALLENGER_SHARE`` beside the names, or by the member ``challenger`` of the file.
    """
    file, sha256, allow = (environment.get(f"MODEL_{name}", "") for name in NAMES)
    other = [*(environment.get(f"CHALLENGER_{name}", "") for name in NAMES), environment.get(SHARE, "")]
    path, due = environment.get("MODEL_PIN_FILE", ""), environment.get(NOT_BEFORE, "")
    if path and (file or sha256 or allow or due):
        raise PinError("set MODEL_PIN_FILE, or MODEL_FILE_NAME and MODEL_SHA256, not both")
    if path and any(other):
        raise PinError("with MODEL_PIN_FILE, the challenger is a member of that file, not CHALLENGER_FILE_NAME")
    if path:
        return read(Path(path)), Path(path)
    if not file or not sha256:
        raise PinError("no pin: set MODEL_FILE_NAME and MODEL_SHA256, or MODEL_PIN_FILE")
    champion = Pin.make(file, sha256, allow, not_before=due)
    return Pins(champion, _challenger(*other) if any(other) else None), None


def _challenger(file: object, sha256: object, allow: object, share: object) -> Pin | PinError:
    try:
        return Pin.make(file, sha256, allow, share)
    except PinError as error:
        return PinError(f"the challenger: {error}")


def read(path: Path) -> Pins:
    """The pins from a JSON file ``{"file": …, "sha256": …, "allow": […], "challenger": {"file": …, "sha256": …, "share": …}}``.

    ``allow``, ``challenger`` and ``share`` may be left out or null, and so may ``"notBefore": "2026-11-30T06:00:00Z"`` of the
    champion. Raises :class:`PinError`.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PinError(f"the pin file cannot be read ({error.strerror})") from None
    except ValueError:
        raise PinError("the pin file is not JSON") from None
    if not isinstance(data, dict):
        raise PinError('the pin file must hold {"file": …, "sha256": …}')
    champion = Pin.make(data.get("file"), data.get("sha256"), data.get("allow"), not_before=data.get("notBefore"))
    other = data.get("challenger")
    if other is None:
        return Pins(champion)
    if not isinstance(other, dict):
        return Pins(champion, PinError('the challenger must be {"file": …, "sha256": …}'))
    if other.get("notBefore"):
        return Pins(
            champion, PinError("the challenger: it has no notBefore; only the model that answers has an instant")
        )
    named = (other.get(name) for name in ("file", "sha256", "allow", "share"))
    return Pins(champion, _challenger(*named))
