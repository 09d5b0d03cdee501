"""One line of the spool: what the prediction log keeps of one request, an array of JSON with its parts in a fixed order.

A line has the rows of one request, or of a part of one: the values that were scored, by feature, and the answers. It has one of
two formats. :class:`Line` has the answers' JSON, as it is sent. :class:`Batch` has columns: for many rows they cost the worker
little, and the shipper makes JSON of them. Both give the same rows of the database, to the bit.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Literal, TypeVar

import msgspec

from services.web.timestamps import iso

FORMAT: Literal[2] = 2
BATCH: Literal[3] = 3
WIDTHS = {1: "B", 2: "H", 4: "I"}  # bytes of a code, and the type that an array has for them
Value = TypeVar("Value")
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

    def ids(self) -> Sequence[str]:
        """The ids of the n predictions."""
        return [answer.prediction_id for answer in self.answers]

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


class Column(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The n values of one feature. One of the three is there: ``numbers``, float64 with NaN for what is missing; ``values``; or
    ``values`` with ``codes``, where row i has ``values[codes[i]]``.

    Numbers are little-endian, and in base64. Codes are unsigned integers of 1, 2 or 4 bytes, as few as are needed.
    """

    numbers: bytes | None = None
    codes: bytes | None = None
    values: list[str | None] | None = None

    def to_json(self, rows: int) -> Sequence[str]:
        """The JSON of each value; raises :class:`ValueError` or :class:`IndexError` where the parts do not fit each other."""
        if self.numbers is not None:
            return _numbers(self.numbers, rows)
        if self.values is None:
            raise ValueError("a column has no values")
        if self.codes is None:
            return list(map(_json, self.values))
        return _picked(list(map(_json, self.values)), self.codes, rows)


class ReasonColumns(msgspec.Struct, frozen=True, gc=False):
    """The reasons of n rows, row after row. ``counts``, codes: how many each row has. ``said``, codes: the entry of ``features``
    and ``texts`` of each reason; ``contributions``: its float64."""

    features: list[str]
    texts: list[str]
    counts: bytes
    said: bytes
    contributions: bytes

    def to_json(self, rows: int) -> list[str]:
        """The JSON array of each row; raises what :meth:`Column.to_json` does."""
        counts = _codes(self.counts, rows)
        total = sum(counts)
        opening = '{"feature":%s,"text":%s,"contribution":'
        openings = [opening % (_json(f), _json(t)) for f, t in zip(self.features, self.texts, strict=True)]
        said, numbers = _picked(openings, self.said, total), _numbers(self.contributions, total)
        reasons = [f"{opens}{number}}}" for opens, number in zip(said, numbers, strict=True)]
        return [f"[{','.join(reasons[end - n : end])}]" for n, end in zip(counts, accumulate(counts), strict=True)]


class AnswerColumns(msgspec.Struct, frozen=True, gc=False):
    """The answers of one model to n rows.

    ``probabilities``: float64, row by row, one per class. ``bands``: codes of ``labels``; None where the model has none. ``ids``
    is None where no row has one. ``reasons`` is None where the model has none. ``warnings`` maps a row's position to its own.
    """

    model_version: str
    prediction_ids: list[str]
    ids: list[str | None] | None
    probabilities: bytes
    bands: bytes | None
    labels: list[str]
    reasons: ReasonColumns | None
    warnings: dict[int, msgspec.Raw]


class Batch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is written for n rows of one request as columns, and read. Its first parts are those of a :class:`Line`."""

    format: Literal[3]
    time: float
    generation: int
    request_id: str
    key_name: str | None
    inputs: dict[str, Column]
    answers: AnswerColumns

    def __post_init__(self) -> None:
        if not self.answers.prediction_ids:
            raise ValueError("must have a row")

    def records(self) -> list[str]:
        """The n validated records as JSON; raises :class:`msgspec.ValidationError` where the parts do not fit each other."""
        rows = len(self.answers.prediction_ids)
        pieces = [""] * (rows * (2 * len(self.inputs) + 1))
        step = len(pieces) // rows
        opening = "{"
        with _fitting():
            for k, (name, column) in enumerate(self.inputs.items()):
                pieces[2 * k :: step] = [f"{opening}{_json(name)}:"] * rows
                pieces[2 * k + 1 :: step] = column.to_json(rows)
                opening = ","
        pieces[step - 1 :: step] = ["}\n"] * rows
        return "".join(pieces).split("\n")[:-1]  # a line feed in a text is an escape

    def columns(self) -> tuple[Sequence[Any], ...]:
        """What differs from row to row: id, the caller's own id, probability of the last class, band, and as JSON probabilities,
        record, reasons and warnings. Raises what :meth:`records` does.
        """
        answers, rows = self.answers, len(self.answers.prediction_ids)
        inputs = self.records()
        with _fitting():
            classes = len(answers.probabilities) // (8 * rows)
            numbers = floats(answers.probabilities, classes * rows)
            texts = zip(*[iter(_numbers(answers.probabilities, classes * rows))] * classes, strict=True)
            columns = (
                answers.prediction_ids,
                [None] * rows if answers.ids is None else answers.ids,
                numbers[classes - 1 :: classes],
                [None] * rows if answers.bands is None else _picked(answers.labels, answers.bands, rows),
                [f"[{','.join(own)}]" for own in texts],
                inputs,
                ["null"] * rows if answers.reasons is None else answers.reasons.to_json(rows),
                ["[]"] * rows,
            )
            for place, own in answers.warnings.items():
                columns[-1][place] = str(own, "utf-8")
            if {*map(len, columns)} != {rows}:
                raise ValueError("the columns differ in length")
        return columns

    def rows(self) -> Iterator[dict[str, Any]]:
        """The n rows, as the columns of the database; raises what :meth:`records` does, before the first."""
        columns = self.columns()
        moment, version = iso(self.time, "microseconds"), self.answers.model_version
        for own, record_id, probability, band, probabilities, record, reasons, warnings in zip(*columns, strict=True):
            yield {
                "prediction_id": own,
                "time": moment,
                "model_version": version,
                "generation": self.generation,
                "request_id": self.request_id,
                "key_name": self.key_name,
                "record_id": record_id,
                "probability": probability,
                "band": band,
                "probabilities": probabilities,
                "input": record,
                "reasons": reasons,
                "warnings": warnings,
            }

    def ids(self) -> Sequence[str]:
        """The ids of the n predictions."""
        return self.answers.prediction_ids


_START = b"[%d," % BATCH
_decoder = msgspec.json.Decoder(Entry)
_batches = msgspec.json.Decoder(Batch)


def encode(line: Line | Batch) -> bytes:
    """A line, with its end."""
    return _encoder.encode_lines([line])


def decode(line: bytes) -> Entry | Batch:
    """Read a line; raises :class:`msgspec.MsgspecError` where it has another form."""
    return _batches.decode(line) if line.startswith(_START) else _decoder.decode(line)


def as_line(line: bytes) -> bytes:
    """The content of a line as a :class:`Line`, from which rows can be taken out; raises :class:`msgspec.MsgspecError`."""
    if not line.startswith(_START):
        return line
    found = _batches.decode(line)
    records, answers, version = [], [], found.answers.model_version
    for own, record_id, _, band, *encoded in zip(*found.columns(), strict=True):
        probabilities, record, reasons, warnings = (msgspec.Raw(text.encode()) for text in encoded)
        answers.append(LoggedAnswer(own, version, record_id, probabilities, band, reasons, warnings))
        records.append(msgspec.json.decode(record))
    inputs = {name: [record[name] for record in records] for name in found.inputs}
    head = (found.time, found.generation, found.request_id, found.key_name)
    return encode(Line(FORMAT, *head, inputs, msgspec.Raw(_encoder.encode(answers))))


@contextmanager
def _fitting() -> Iterator[None]:
    """Say that a line has another form where its columns do not fit each other."""
    try:
        yield
    except (ValueError, IndexError) as error:
        raise msgspec.ValidationError(str(error)) from None


def floats(content: bytes, count: int) -> list[float]:
    """``count`` numbers of float64; raises :class:`ValueError` where there are more or fewer."""
    found = array("d", content)
    if sys.byteorder == "big":
        found.byteswap()
    if len(found) != count:
        raise ValueError("a column has more or fewer numbers than there are rows")
    return found.tolist()


def _codes(content: bytes, count: int) -> list[int]:
    """``count`` codes; raises :class:`ValueError` where there are more or fewer."""
    width = len(content) // count if count else 1
    if len(content) != width * count or width not in WIDTHS:
        raise ValueError("a column has more or fewer codes than there are rows")
    found = array(WIDTHS[width], content)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


def _picked(values: Sequence[Value], content: bytes, count: int) -> list[Value]:
    """The value of each of ``count`` codes; raises :class:`ValueError`, or :class:`IndexError` for a code without a value."""
    return list(map(values.__getitem__, _codes(content, count)))


def _numbers(content: bytes, count: int) -> list[str]:
    """``count`` numbers of float64, each as JSON; raises :class:`ValueError` where there are more or fewer."""
    return _json(floats(content, count))[1:-1].split(",") if count else []


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


class _Own(msgspec.Struct, frozen=True, gc=False):
    prediction_id: str


class _Inputs(_Head, array_like=True, frozen=True, gc=False):
    answers: list[_Own]


_inputs = msgspec.json.Decoder(_Inputs)


def inputs(line: bytes) -> Iterator[tuple[str, str]]:
    """The id and the validated record, as JSON, of each row of a line, and no more of it: a quarter of the time of reading all.

    Raises :class:`msgspec.MsgspecError` where the line has another form.
    """
    if line.startswith(_START):
        batch = _batches.decode(line)
        yield from zip(batch.ids(), batch.records(), strict=True)
        return
    found = _inputs.decode(line)
    names = tuple(found.inputs)
    records = [dict(zip(names, values, strict=True)) for values in zip(*found.inputs.values(), strict=False)]
    encoded = _encoder.encode_lines(records).decode().split("\n")
    yield from zip((own.prediction_id for own in found.answers), encoded, strict=False)
