"""Checks the frame of an Arrow IPC stream before pyarrow sees it: its messages and the tables of Flatbuffers that describe them.

The tables of a message may share their parts, so a small message can describe a structure that takes gigabytes: a million
columns that are one, columns nested a hundred deep, a text a thousand times. Nothing that grows by sharing is let through, and
nothing that is compressed. What is left takes memory in proportion to the body.

The format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, with ``Message.fbs`` and ``Schema.fbs``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from modelbundle.validation.problems import Problem, escape
from services.web.problem import Refused

MOST_MESSAGES = 1000  # of a stream
MOST_ARRAYS = 50_000  # columns times messages: each takes some 300 bytes of memory, even if it has none of its own
LARGEST_METADATA = 1 << 18  # bytes of the description of a message
MOST_SHARED = 1 << 20  # bytes of names and texts in a schema, as often as they are named
REMEMBERED = 1 << 14  # bytes of the description of a schema that is remembered once it is known to be good
LONGEST_NAME = 256  # characters of a column's name in a problem
CONTINUATION = b"\xff\xff\xff\xff"
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3
BROKEN = "The body is not a valid Arrow IPC stream ({})."
NESTED = "must be numbers or texts, not nested"


class Broken(Exception):
    """The bytes are not a stream; the message says why."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of Flatbuffers at ``place`` of ``data``. Every read is within ``data``, or raises :class:`Broken`."""

    data: bytes
    place: int

    def number(self, place: int, size: int, signed: bool = False) -> int:
        """The little-endian number of ``size`` bytes at ``place``."""
        if not 0 <= place <= len(self.data) - size:
            raise Broken("a description points beyond its end")
        return int.from_bytes(self.data[place : place + size], "little", signed=signed)

    def find(self, field: int) -> int | None:
        """The place of a field; None where it has its default."""
        vtable = self.place - self.number(self.place, 4, signed=True)
        slot = 4 + 2 * field
        if slot + 2 > self.number(vtable, 2):
            return None
        offset = self.number(vtable + slot, 2)
        return self.place + offset if offset else None

    def scalar(self, field: int, size: int, signed: bool = False) -> int:
        """A number; 0 by default."""
        place = self.find(field)
        return 0 if place is None else self.number(place, size, signed)

    def target(self, field: int) -> int | None:
        """Where the offset in a field leads."""
        place = self.find(field)
        return None if place is None else place + self.number(place, 4)

    def table(self, field: int) -> Table | None:
        """A table; None where there is none."""
        place = self.target(field)
        return None if place is None else Table(self.data, place)

    def count(self, field: int) -> int:
        """The length of a vector or text."""
        place = self.target(field)
        return 0 if place is None else self.number(place, 4)

    def tables(self, field: int) -> Iterator[Table]:
        """The tables of a vector."""
        begin = self.target(field)
        for i in range(self.count(field)):
            place = (begin or 0) + 4 + 4 * i
            yield Table(self.data, place + self.number(place, 4))

    def text(self, field: int) -> bytes:
        """A text; empty by default."""
        begin, length = self.target(field), self.count(field)
        return b"" if begin is None else self.data[begin + 4 : begin + 4 + length]


def check(body: bytes, most_columns: int) -> None:
    """Raise :class:`Refused` unless ``body`` is one whole stream that pyarrow can read in memory in proportion to the body.

    With 400 for what is not a stream, is cut off, or names a column twice; 413 for too many messages or columns; 415 for what is
    compressed or has delta dictionaries; 422 for nested columns.
    """
    kinds: list[int] = []
    columns = 0
    try:
        for kind, header in _messages(body):
            columns = columns or header.count(1)
            kinds.append(_message(kind, header, most_columns))
            if columns * len(kinds) > MOST_ARRAYS:
                raise Refused(413, f"The stream has more than {MOST_ARRAYS} columns, counted in each message.")
    except Broken as error:
        raise Refused(400, BROKEN.format(error)) from None
    if kinds[:1] != [SCHEMA] or SCHEMA in kinds[1:]:
        raise Refused(400, BROKEN.format("it must begin with its only schema"))


def _messages(body: bytes) -> Iterator[tuple[int, Table]]:
    """The kind and the header of each message."""
    place = count = 0
    while True:
        if body[place : place + 4] != CONTINUATION:
            raise Broken("it is cut off" if place + 4 > len(body) else f"byte {place} does not begin a message")
        size = int.from_bytes(body[place + 4 : place + 8], "little", signed=True)
        begin = place + 8
        if begin > len(body):
            raise Broken("it is cut off")
        if size == 0:
            if begin != len(body):
                raise Broken("there is more after its end")
            return
        count += 1
        if count > MOST_MESSAGES or size > LARGEST_METADATA:
            detail = f"The stream has more than {MOST_MESSAGES} messages, or a description of more than {LARGEST_METADATA} bytes."
            raise Refused(413, detail)
        if size < 0 or begin + size > len(body):
            raise Broken("it is cut off" if size > 0 else "a message has a negative length")
        data = body[begin : begin + size]
        message = Table(data, Table(data, 0).number(0, 4))
        if message.count(4):
            raise Broken("a message has metadata of its own")
        inner, header = message.scalar(3, 8, signed=True), message.table(2)
        place = begin + size + inner
        if header is None or inner < 0 or place > len(body):
            raise Broken("it is cut off" if inner > 0 else "a message has no content")
        yield message.scalar(1, 1), header


def _message(kind: int, header: Table, most_columns: int) -> int:
    """Check one message; returns its kind."""
    if kind == SCHEMA:
        check_once = _known_schema if len(header.data) <= REMEMBERED else _schema
        check_once(header, most_columns)
    elif kind in (DICTIONARY, RECORDS):
        records = header.table(1) if kind == DICTIONARY else header
        if records is None:
            raise Broken("a dictionary has no content")
        if kind == DICTIONARY and header.scalar(2, 1):
            raise Refused(415, "The stream must not have delta dictionaries.")
        if records.find(3) is not None:
            raise Refused(415, "The buffers of the stream must not be compressed.")
    else:
        raise Broken("a message is neither a schema nor records")
    return kind


@lru_cache(64)
def _known_schema(schema: Table, most_columns: int) -> None:
    """:func:`_schema`, once for equal bytes: a client sends the same schema again and again."""
    _schema(schema, most_columns)


def _schema(schema: Table, most_columns: int) -> None:
    if (columns := schema.count(1)) > most_columns:
        raise Refused(413, f"The stream has {columns} columns; at most {most_columns} are accepted.")
    named: set[bytes] = set()
    nested: list[Problem] = []
    shared = _metadata(schema, 2, 0)
    for field in schema.tables(1):
        name = field.text(0)
        shared = _metadata(field, 6, shared + len(name) + _type_texts(field))
        pointer = f"/{escape(name.decode('utf-8', 'replace')[:LONGEST_NAME])}"
        if name in named:
            raise Refused(400, "The stream names the same column twice.", _errors([Problem(pointer, "named again")]))
        named.add(name)
        if field.count(5):
            nested.append(Problem(pointer, NESTED))
    if nested:
        raise Refused(422, "The request does not fit the model's schema: columns are nested.", _errors(nested))


def _type_texts(field: Table) -> int:
    """The bytes in the vectors and texts of a column's type: the only fields of types with offsets are the first two."""
    own = field.table(3)
    kind = field.scalar(2, 1)
    return 0 if own is None or kind not in _WITH_OFFSETS else own.count(_WITH_OFFSETS[kind])


_WITH_OFFSETS: dict[int, Literal[1]] = {10: 1, 14: 1}  # Timestamp: its time zone; Union: its ids


def _metadata(table: Table, field: int, shared: int) -> int:
    """``shared`` and the bytes of all keys and values; raises :class:`Refused` where these are too many."""
    for pair in table.tables(field):
        shared += pair.count(0) + pair.count(1) + 16
        if shared > MOST_SHARED:
            break
    if shared > MOST_SHARED:
        raise Refused(413, f"The schema of the stream has more than {MOST_SHARED} bytes of names and metadata.")
    return shared


def _errors(problems: list[Problem]) -> list[dict[str, str]]:
    return [{"pointer": problem.pointer, "detail": problem.detail} for problem in problems]
