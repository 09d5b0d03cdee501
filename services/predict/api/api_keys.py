"""API keys: a file of names and hashes, read again when it changes; without the file everyone may ask.

Each line is ``name sha256``, the second being the SHA-256 of the key in hex; a key is 32 random bytes, so a plain hash is enough.
``python -m services.predict.api.api_keys NAME`` makes one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from flask import Flask, request

from services.web import json_logging
from services.web.problem import Refused

_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})\s+([0-9a-f]{64})")
MAX_FILE_BYTES = 1 << 20
TICK = 2.0  # seconds: within them two changes of a file can have one time; FAT counts in two seconds
REALM = {"WWW-Authenticate": 'Bearer realm="predictions"'}


class KeysError(ValueError):
    """A file of keys that cannot be used; the message says which line and why."""


class Keys:
    """The keys in ``path``. Raises :class:`KeysError` or :class:`OSError` where it cannot be used from the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen, self._changed = _state(path), time.monotonic()
        self._read, self._trouble = self._changed, ""
        self._hashes = read(path)

    def holder(self, key: str) -> str | None:
        """The name of who holds ``key``, or None. Takes the same time for every key that is not too long."""
        self._follow()
        own = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for name, digest in self._hashes:
            if hmac.compare_digest(digest, own):
                found = name
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
            hashes, trouble = read(self.path), ""
        except (OSError, KeysError) as error:
            hashes, trouble = self._hashes, f"the keys before are kept: {error}"
        if trouble and trouble != self._trouble:
            json_logging.emit("keys", "error", trouble=trouble)
        elif hashes != self._hashes:
            json_logging.emit("keys", "info", keys=[name for name, _ in hashes])
        self._hashes, self._trouble = hashes, trouble


def read(path: Path) -> list[tuple[str, bytes]]:
    """Names and digests; raises :class:`KeysError` with the number of the line, and :class:`OSError`."""
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise KeysError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    found: dict[str, bytes] = {}
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise KeysError(f"{path}, line {number}: must be a name and the SHA-256 of a key in hex")
        if match[1] in found:
            raise KeysError(f"{path}, line {number}: the name stands there already")
        found[match[1]] = bytes.fromhex(match[2])
    if not found:
        raise KeysError(f"{path} has no keys; unset API_KEYS_FILE to let everyone ask")
    return list(found.items())


def init_app(app: Flask, keys: Keys | None, apart: frozenset[str]) -> None:
    """Ask for a key before every view that changes or scores something, but for the endpoints ``apart``, which ask themselves."""
    if keys is None:
        return

    @app.before_request
    def check() -> None:
        if request.method not in ("GET", "HEAD", "OPTIONS") and request.endpoint not in apart:
            request.environ["request.key"] = authenticate(keys, request.environ)


def authenticate(keys: Keys, environ: dict[str, Any]) -> str:
    """The name of who asks; raises :class:`Refused` with 401 where no key was sent and 403 where it is not known."""
    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else environ.get("HTTP_X_API_KEY", "")
    if not key:
        detail = "A key is needed: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
        raise Refused(401, detail, headers=REALM)
    name = keys.holder(key) if len(key) <= 256 else None
    if name is None:
        raise Refused(403, "This key is not known.")
    return name


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def main(name: str) -> None:
    """Print a new key, and the line for the file."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        sys.exit("a key's name is 1 to 64 letters, digits, dots, underscores or hyphens")
    key = secrets.token_urlsafe(32)
    print(f"key, to give away, shown once:  {key}", file=sys.stderr)
    print("line for API_KEYS_FILE:", file=sys.stderr)
    print(f"{name} {hashlib.sha256(key.encode()).hexdigest()}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m services.predict.api.api_keys NAME")
    main(sys.argv[1])
