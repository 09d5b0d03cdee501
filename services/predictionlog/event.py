"""What happened besides predictions, as a line of the spool: switches, refusals, deployments.

An event's id is made of what happened, not when it was written down. So whoever is not sure whether an event was written,
after a crash or a full disk, writes it again, and the database keeps the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from services.predictionlog.spool import Writer

MARK = "event"
_START = b'["event",'
SWITCH, REFUSAL, DEPLOYMENT, ERASURE = "switch", "refusal", "deployment", "erasure"
CORRECTION = "correction"  # of an outcome
CHALLENGE = "challenge"  # a challenger came to be scored, or was refused


class Event(msgspec.Struct, array_like=True, frozen=True):
    """``time`` is in seconds since 1970; ``detail`` is JSON that is not parsed again."""

    mark: str
    id: str
    time: float
    kind: str
    detail: msgspec.Raw


_decoder = msgspec.json.Decoder(Event)


def identity(*facts: object) -> str:
    """32 hex digits that are the same whenever the facts are."""
    return hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:32]


def encode(own: str, kind: str, seconds: float, detail: dict[str, Any]) -> bytes:
    """One line."""
    return msgspec.json.encode((MARK, own, seconds, kind, detail)) + b"\n"


def is_one(line: bytes) -> bool:
    """Whether a line of the spool is an event; otherwise it is a prediction."""
    return line.startswith(_START)


def decode(line: bytes) -> dict[str, Any]:
    """A line as the columns of the database; raises :class:`msgspec.MsgspecError` for what is none."""
    event = _decoder.decode(line)
    return {
        "event_id": event.id,
        "time": moment(event.time),
        "kind": event.kind,
        "detail": bytes(event.detail).decode(),
    }


def moment(seconds: float) -> str:
    """A Unix time as the database has it: ISO 8601 in UTC, which sorts as it is."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def append(root: Path, kind: str, detail: dict[str, Any]) -> None:
    """Put one event into the spool below ``root`` from a process that comes and goes; raises :class:`OSError`."""
    writer = Writer(root, max_bytes=0)
    try:
        now = time.time()
        own = identity(kind, now, json.dumps(detail, sort_keys=True))
        writer.append(encode(own, kind, now, detail), whatever=True)
    finally:
        writer.close()


def main(kind: str, detail: str) -> None:
    """Append one event to the spool of DATA_DIR: what ``docker-compose exec`` runs in a replica."""
    if os.environ.get("PREDICTION_LOG_URL") != "none":
        append(Path(os.environ["DATA_DIR"]) / "spool", kind, json.loads(detail))


if __name__ == "__main__":
    main(*sys.argv[1:])
