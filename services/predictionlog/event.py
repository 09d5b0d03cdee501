"""Events, as lines of the spool: switches, refusals, deployments, challengers, erasures, corrections, look-ups.

The id of an event is derived from its facts, not from the time of writing. After a crash or a full disk, a writer that is not
sure whether an event was written writes it again; the database keeps the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from services.predictionlog.spool import Writer
from services.web.timestamps import iso

MARK = "event"
_START = b'["event",'
SWITCH, REFUSAL, DEPLOYMENT, ERASURE = "switch", "refusal", "deployment", "erasure"
CORRECTION = "correction"  # of an outcome
CHALLENGE = "challenge"  # a challenger begins to score, or is refused
NOTICE = "notice"  # a letter of adverse action was made
LOOKUP = "lookup"  # somebody saw logged predictions
EXPORT = "export"  # the log was written to files
CHAIN = "chain"  # the last batch of a chain: see services.predictionlog.chain
KINDS = (SWITCH, REFUSAL, DEPLOYMENT, CHALLENGE, ERASURE, CORRECTION, NOTICE, LOOKUP, EXPORT, CHAIN)


class Event(msgspec.Struct, array_like=True, frozen=True):
    """A line. ``time`` is in seconds since 1970; ``detail`` is JSON that is not parsed."""

    mark: str
    id: str
    time: float
    kind: str
    detail: msgspec.Raw


_decoder = msgspec.json.Decoder(Event)


def identity(*facts: object) -> str:
    """32 hex digits, derived from the facts."""
    return hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:32]


def encode(own: str, kind: str, seconds: float, detail: dict[str, Any]) -> bytes:
    """One line."""
    return msgspec.json.encode((MARK, own, seconds, kind, detail)) + b"\n"


def is_one(line: bytes) -> bool:
    """Whether a line of the spool is an event; otherwise it is a prediction."""
    return line.startswith(_START)


def decode(line: bytes) -> dict[str, Any]:
    """A line as the columns of the database; raises :class:`msgspec.MsgspecError` for a damaged line."""
    event = _decoder.decode(line)
    return {
        "event_id": event.id,
        "time": iso(event.time),
        "kind": event.kind,
        "detail": bytes(event.detail).decode(),
    }


def append(root: Path, kind: str, detail: dict[str, Any]) -> None:
    """Append one event to the spool below ``root``, from a short-lived process; raises :class:`OSError`."""
    writer = Writer(root, max_bytes=0)
    try:
        now = time.time()
        own = identity(kind, now, json.dumps(detail, sort_keys=True))
        writer.append(encode(own, kind, now, detail), whatever=True)
    finally:
        writer.close()


def main(kind: str, detail: str) -> None:
    """Append one event to the spool of DATA_DIR; ``docker-compose exec`` runs this in a replica."""
    if os.environ.get("PREDICTION_LOG_URL") != "none":
        append(Path(os.environ["DATA_DIR"]) / "spool", kind, json.loads(detail))


if __name__ == "__main__":
    main(*sys.argv[1:])
