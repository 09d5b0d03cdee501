"""One row of the prediction log, as a line of the spool: an array of JSON, its parts in a fixed order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

FORMAT = 1
_encoder = msgspec.json.Encoder()


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """``time`` is in seconds since 1970; ``input``, ``probabilities`` and ``reasons`` are JSON that is not parsed again."""

    format: int
    prediction_id: str
    time: float
    model_version: str
    generation: int
    request_id: str
    key_name: str | None
    record_id: str | None
    probability: float
    band: str | None
    probabilities: msgspec.Raw
    input: msgspec.Raw
    reasons: msgspec.Raw
    warnings: msgspec.Raw


_decoder = msgspec.json.Decoder(Entry)


def encode(
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    answers: Iterable[Mapping[str, Any]],
    generation: int,
    request_id: str,
    key_name: str | None,
) -> bytes:
    """Lines for n answered rows; ``rows`` are the validated values in the order of ``names``, missing ones None."""
    now = time.time()
    return b"".join(
        _encoder.encode(
            (
                FORMAT,
                answer["prediction_id"],
                now,
                answer["model_version"],
                generation,
                request_id,
                key_name,
                answer["id"],
                answer["predict_proba"][-1],
                answer["band"],
                answer["predict_proba"],
                dict(zip(names, row, strict=True)),
                answer["reasons"],
                answer["warnings"],
            )
        )
        + b"\n"
        for row, answer in zip(rows, answers, strict=True)
    )


def decode(line: bytes) -> dict[str, Any]:
    """A line as the columns of the database; raises :class:`msgspec.MsgspecError` for what is none."""
    entry = _decoder.decode(line)
    return {
        "prediction_id": entry.prediction_id,
        "time": datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="microseconds"),
        "model_version": entry.model_version,
        "generation": entry.generation,
        "request_id": entry.request_id,
        "key_name": entry.key_name,
        "record_id": entry.record_id,
        "probability": entry.probability,
        "band": entry.band,
        "probabilities": bytes(entry.probabilities).decode(),
        "input": bytes(entry.input).decode(),
        "reasons": bytes(entry.reasons).decode(),
        "warnings": bytes(entry.warnings).decode(),
    }
