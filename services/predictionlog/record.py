"""One line of the spool: what the prediction log keeps of one request, an array of JSON with its parts in a fixed order.

A line has the rows of one request, or of a part of one: the values that were scored, by feature, and the answers, as they were
sent. The shipper makes rows of the database from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from services.web.timestamps import iso

FORMAT: Literal[2] = 2
_encoder = msgspec.json.Encoder()


class LoggedAnswer(msgspec.Struct, frozen=True, gc=False):
    """The fields of :class:`modelbundle.model.Answer` that the log keeps; those that are JSON in the database are not parsed."""

    prediction_id: str
    model_version: str
    id: str | None
    predict_proba: msgspec.Raw
    band: str | None
    reasons: msgspec.Raw
    warnings: msgspec.Raw


class _Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    format: Literal[2]
    time: float
    generation: int
    request_id: str
    key_name: str | None
    inputs: dict[str, list[float | str | None]]


class Line(_Head, array_like=True, frozen=True, gc=False):
    """What is written for n rows of one request. ``time`` is in seconds since 1970; ``inputs`` maps a feature to its n values.

    ``answers`` is the JSON array that was made for the answer, so it is encoded once.
    """

    answers: msgspec.Raw


class Entry(_Head, array_like=True, frozen=True, gc=False):
    """A :class:`Line` as it is read."""

    answers: list[LoggedAnswer]

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
        moment = iso(self.time, "microseconds")
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


def encode(line: Line) -> bytes:
    """A line, with its end."""
    return _encoder.encode_lines([line])


def decode(line: bytes) -> Entry:
    """Read a line; raises :class:`msgspec.MsgspecError` where it has another form."""
    return _decoder.decode(line)


class _Own(msgspec.Struct, frozen=True, gc=False):
    prediction_id: str


class _Inputs(_Head, array_like=True, frozen=True, gc=False):
    answers: list[_Own]


_inputs = msgspec.json.Decoder(_Inputs)


def inputs(line: bytes) -> Iterator[tuple[str, str]]:
    """The id and the validated record, as JSON, of each row of a line, and no more of it: a quarter of the time of reading all.

    Raises :class:`msgspec.MsgspecError` where the line has another form.
    """
    found = _inputs.decode(line)
    names = tuple(found.inputs)
    records = [dict(zip(names, values, strict=True)) for values in zip(*found.inputs.values(), strict=False)]
    encoded = _encoder.encode_lines(records).decode().split("\n")
    yield from zip((own.prediction_id for own in found.answers), encoded, strict=False)
