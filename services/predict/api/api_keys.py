"""API keys: a file of names and hashes, read again when it changes; without the file everyone may ask.

Each line is ``name sha256 [roles]``. The second is the SHA-256 of the key in hex; a key is 32 random bytes, so a plain hash is
enough. The third is what the key may do, :data:`ROLES` with commas; without it, :data:`PREDICT`. A caller is its name: several
lines may have the same one, so that a caller keeps its predictions while it changes its key.
``python -m services.predict.api.api_keys NAME [ROLES]`` makes one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask, request

from services.web import json_logging
from services.web.problem import Refused

PREDICT = "predict"  # may ask for predictions, and give outcomes for those of its own name
OUTCOMES = "outcomes"  # may give outcomes for every caller's predictions
AUDIT = "audit"  # may see what callers sent
ROLES = (PREDICT, OUTCOMES, AUDIT)
_NAME = r"[A-Za-z0-9._-]{1,64}"
_LINE = re.compile(rf"({_NAME})\s+([0-9a-f]{{64}})(?:\s+(\S+))?")
MAX_FILE_BYTES = 1 << 20
TICK = 2.0  # seconds: within them two changes of a file can have one time; FAT counts in two seconds
REALM = {"WWW-Authenticate": 'Bearer realm="predictions"'}


class KeysError(ValueError):
    """A file of keys that cannot be used; the message says which line and why."""


class Key(NamedTuple):
    """A key. ``name`` is the caller's; ``id``, the first digits of the hash, tells two keys of one caller apart."""

    name: str
    digest: bytes
    roles: frozenset[str]
    id: str | None  # None where the caller has one key only


class Keys:
    """The keys in ``path``. Raises :class:`KeysError` or :class:`OSError` where it cannot be used from the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen, self._changed = _state(path), time.monotonic()
        self._read, self._trouble = self._changed, ""
        self._keys = read(path)

    def find(self, key: str) -> Key | None:
        """The line of ``key``, or None. Takes the same time for every key that is not too long."""
        self._follow()
        own = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known in self._keys:
            if hmac.compare_digest(known.digest, own):
                found = known
        return found

    def _follow(self) -> None:
        """Read the file if it changed, and until it was read :data:`TICK` after that: it may have changed again unseen."""
        state = _state(self.path)
        if state == self._seen and self._read >= self._changed + TICK:
            return
        self._read = time.monotonic()
        if state != self._seen:
            self._seen, self._changed = state, self._read
        try:
            keys, trouble = read(self.path), ""
        except (OSError, KeysError) as error:
            keys, trouble = self._keys, f"the keys before are kept: {error}"
        if trouble and trouble != self._trouble:
            json_logging.emit("keys", "error", trouble=trouble)
        elif keys != self._keys:
            json_logging.emit("keys", "info", keys=[key.name for key in keys])
        self._keys, self._trouble = keys, trouble


def read(path: Path) -> list[Key]:
    """The keys of a file; raises :class:`KeysError` with the number of the line, and :class:`OSError`."""
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise KeysError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    found: list[tuple[str, bytes, frozenset[str]]] = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise KeysError(f"{path}, line {number}: must be a name, the SHA-256 of a key in hex, and roles if any")
        name, digest, roles = match[1], bytes.fromhex(match[2]), frozenset((match[3] or PREDICT).split(","))
        if not roles <= {*ROLES}:
            raise KeysError(f"{path}, line {number}: the roles are {', '.join(ROLES)}, separated by a comma alone")
        found.append((name, digest, roles))
    if not found:
        raise KeysError(f"{path} has no keys; unset API_KEYS_FILE to let everyone ask")
    lines = Counter(name for name, *_ in found)
    return [Key(*one, one[1].hex()[:8] if lines[one[0]] > 1 else None) for one in found]


def init_app(app: Flask, keys: Keys | None, apart: frozenset[str], roles: Mapping[str, tuple[str, ...]]) -> None:
    """Ask for a key before every view that changes or scores something, but for the endpoints ``apart``, which ask themselves.

    The key needs one of the endpoint's ``roles``, by default :data:`PREDICT`.
    """
    if keys is None:
        return

    @app.before_request
    def check() -> None:
        if request.method not in ("GET", "HEAD", "OPTIONS") and request.endpoint not in apart:
            needed = roles.get(request.endpoint, (PREDICT,)) if request.endpoint else ()
            note(request.environ, authenticate(keys, request.environ, *needed))


def note(environ: dict[str, Any], key: Key) -> None:
    """Make ``key`` that of the request: what it scores is logged under the key's name."""
    environ["request.key"] = key.name
    environ["request.roles"] = key.roles
    if key.id is not None:
        environ["request.key_id"] = key.id


def authenticate(keys: Keys, environ: Mapping[str, Any], *roles: str) -> Key:
    """The key of who asks; raises :class:`Refused` with 401 where none was sent, and 403 where it is not known or, with ``roles``
    given, has none of them."""
    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    sent = credentials.strip() if scheme.lower() == "bearer" else environ.get("HTTP_X_API_KEY", "")
    if not sent:
        detail = "A key is needed: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
        raise Refused(401, detail, headers=REALM)
    key = keys.find(sent) if len(sent) <= 256 else None
    if key is None:
        raise Refused(403, "This key is not known.")
    if roles and key.roles.isdisjoint(roles):
        raise Refused(403, f"This key is not for that: it needs the role {' or '.join(f'`{role}`' for role in roles)}.")
    return key


def has_role(keys: Keys | None, environ: Mapping[str, Any], role: str) -> bool:
    """Whether the key of a request has the role. False where none was sent, and where the API asks for none: nobody is known."""
    if keys is None:
        return False
    try:
        authenticate(keys, environ, role)
    except Refused:
        return False
    return True


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def main(name: str, roles: str = "") -> None:
    """Print a new key, and the line for the file."""
    if not re.fullmatch(_NAME, name):
        sys.exit("a key's name is 1 to 64 letters, digits, dots, underscores or hyphens")
    if roles and not {*roles.split(",")} <= {*ROLES}:
        sys.exit(f"the roles are {', '.join(ROLES)}, separated by a comma alone")
    key = secrets.token_urlsafe(32)
    print(f"key, to give away, shown once:  {key}", file=sys.stderr)
    print("line for API_KEYS_FILE:", file=sys.stderr)
    print(f"{name} {hashlib.sha256(key.encode()).hexdigest()} {roles}".strip(), flush=True)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m services.predict.api.api_keys NAME [ROLES]")
    main(*sys.argv[1:])
