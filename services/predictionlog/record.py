"""What one request left in the prediction log, as a line of the spool: an array of JSON, its parts in a fixed order.

The answers stand in it as they were sent, so they are encoded once; the values that were scored, as columns. One line has the
rows of one request, or of a part of one. It becomes rows of the database off every request's way, where there is time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

FORMAT = 2
Buffer = bytes | memoryview
_encoder = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the log keeps of an answer object; ``predict_proba``, ``reasons`` and ``warnings`` are JSON that is not parsed."""

    prediction_id: str
    model_version: str
    id: str | None
    predict_proba: msgspec.Raw
    band: str | None
    reasons: msgspec.Raw
    warnings: msgspec.Raw


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """n rows of one request. ``time`` is in seconds since 1970; ``inputs`` maps a feature to its n validated values."""

    format: Literal[2]
    time: float
    generation: int
    request_id: str
    key_name: str | None
    inputs: dict[str, list[float | str | None]]
    answers: list[Answer]

    def __post_init__(self) -> None:
        if {len(values) for values in self.inputs.values()} != {len(self.answers)}:
            raise ValueError("every feature must have one value for each answer")

    def records(self) -> Iterator[dict[str, Any]]:
        """The n validated records."""
        names = tuple(self.inputs)
        for values in zip(*self.inputs.values(), strict=True):
            yield dict(zip(names, values, strict=True))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The n rows, as the columns of the database."""
        moment = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="microseconds")
        records = _encoder.encode_lines(self.records()).decode().split("\n")[:-1]
        for answer, record in zip(self.answers, records, strict=True):
            probabilities = str(answer.predict_proba, "utf-8")
            yield {
                "prediction_id": answer.prediction_id,
                "time": moment,
                "model_version": answer.model_version,
                "generation": self.generation,
                "request_id": self.request_id,
                "key_name": self.key_name,
                "record_id": answer.id,
                "probability": float(probabilities[probabilities.rfind(",") + 1 : -1]),  # of the last class
                "band": answer.band,
                "probabilities": probabilities,
                "input": record,
                "reasons": str(answer.reasons, "utf-8"),
                "warnings": str(answer.warnings, "utf-8"),
            }


_decoder = msgspec.json.Decoder(Entry)


def encode(
    inputs: Mapping[str, Sequence[Any]], answers: Buffer, generation: int, request_id: str, key_name: str | None
) -> tuple[Buffer, ...]:
    """One line for n answered rows, in parts: the validated values by feature, and the answers' JSON, an array of n objects.

    The answers are not copied: half a megabyte for a thousand of them.
    """
    head = _encoder.encode((FORMAT, time.time(), generation, request_id, key_name, inputs))
    return head[:-1], b",", answers, b"]\n"


def decode(line: bytes) -> Entry:
    """A line; raises :class:`msgspec.MsgspecError` for what is none."""
    return _decoder.decode(line)
