"""CSV in: a header, and rows whose cells become the values that the schema expects."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from flask import Request

from modelbundle.schema import Schema
from modelbundle.validation import csv_cells
from modelbundle.validation.csv_cells import header_problems, values
from modelbundle.validation.problems import Problem
from modelbundle.validation.validator import Validator
from services.predict.serving.memory_budget import ROW_BYTES
from services.web.problem import Refused

MOST_OTHERS = 200  # columns that the schema does not have
LARGEST_CELL = 1 << 27  # a cell is never cut by the reader: what is too long is named on its row
LONGEST_ROW = 1 << 18  # characters
CHUNK_CHARACTERS = 1 << 18  # of rows that are read at a time
CHUNK_BYTES = 24 * (LONGEST_ROW + CHUNK_CHARACTERS) + 500 * ROW_BYTES  # of memory that 500 rows and their answers take
CELL_BYTES, LINE_BYTES = 72, 120  # of memory
csv.field_size_limit(LARGEST_CELL)


class Lines:
    """The lines of a text in UTF-8, decoded a little at a time. ``taken`` counts the characters of those that were iterated."""

    def __init__(self, body: bytes) -> None:
        self.taken = 0
        self._text = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")  # spreadsheets write a byte-order mark

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(LONGEST_ROW + 1):
            self.taken += len(line)
            yield line

    def several(self) -> list[str]:
        """Whole lines of about :data:`CHUNK_CHARACTERS` together, however long they are; none at the end."""
        return self._text.readlines(CHUNK_CHARACTERS)


def _filled(lines: Lines) -> Iterator[list[str]]:
    """The rows that hold anything."""
    rows = csv_cells.bounded_rows(lines, LONGEST_ROW)
    return (row for _, row in rows if row or isinstance(row, csv_cells.Unclosed))


class Table:
    """A CSV document in UTF-8 (RFC 4180, with a header). Raises :class:`Refused` with 400 where it cannot be read as one."""

    def __init__(self, body: bytes) -> None:
        _check_utf_8(body)
        self._body = body
        self._plain = _is_plain(body)
        self._lines = Lines(body)
        self._rows = (row for row in _filled(self._lines) if row != ["sep=", ""])
        self.header = next(self._rows, [])
        if isinstance(self.header, csv_cells.Unclosed):
            raise Refused(400, f"The header {self.header.detail}.")
        if not self.header:
            raise Refused(400, "The body is empty; it must be CSV with a header.")

    def check(self, validator: Validator, others: bool, added: Sequence[str] = ()) -> list[Problem]:
        """What is wrong with the header.

        ``others``: columns that the schema lacks are allowed, unless they look like a misspelling of a column that is absent.
        """
        most = MOST_OTHERS + len(validator.schema)
        if len(self.header) > most:
            return [Problem("", f"has {len(self.header)} columns; at most {most} are accepted")]
        return header_problems(self.header, validator, added, others)

    def bound(self, rows: int) -> None:
        """Raise :class:`Refused` with 413 where there are more than ``rows`` rows after the header."""
        if lines(self._body) <= rows + 1:
            return  # a quoted line break only makes fewer
        if sum(1 for _ in islice(_filled(Lines(self._body)), rows + 2)) - 1 > rows:
            raise Refused(413, f"The body has more than {rows} rows; at most {rows} are accepted.", max_rows=rows)

    def chunks(self, size: int) -> Iterator[list[list[str]]]:
        """The rows that hold anything, at most ``size`` at a time, fewer where they are long.

        The last is Unclosed where it ends inside quotation marks, or is longer than :data:`LONGEST_ROW`.
        """
        if self._plain:
            yield from self._plain_chunks(size)
            return
        chunk: list[list[str]] = []
        end = self._lines.taken + CHUNK_CHARACTERS
        for row in self._rows:
            chunk.append(row)
            if len(chunk) == size or self._lines.taken > end:
                yield chunk
                chunk, end = [], self._lines.taken + CHUNK_CHARACTERS
        if chunk:
            yield chunk

    def _plain_chunks(self, size: int) -> Iterator[list[list[str]]]:
        """:meth:`chunks` where each line is a row, and each comma between two cells: a third of the time."""
        while some := self._lines.several():
            for begin in range(0, len(some), size):
                rows = [text.split(",") for line in some[begin : begin + size] if (text := line.rstrip("\r\n"))]
                if ["sep=", ""] in rows:
                    rows = [row for row in rows if row != ["sep=", ""]]
                if rows:
                    yield rows


def _is_plain(body: bytes) -> bool:
    """Whether no cell of a CSV document is in quotation marks, and no line is longer than :data:`LONGEST_ROW`."""
    step = LONGEST_ROW // 2
    ends = all(b"\n" in body[begin : begin + step] for begin in range(0, len(body) - step, step))
    return ends and b'"' not in body


def lines(body: bytes) -> int:
    """The lines of a CSV document, or more."""
    return body.count(b"\n") + body.count(b"\r") + 1


def weigh(body: bytes) -> int:
    """The bytes of memory that all cells of a CSV document take at most."""
    return 2 * len(body) + CELL_BYTES * (body.count(b",") + lines(body)) + LINE_BYTES * lines(body)


def _check_utf_8(body: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for begin in range(0, len(body), CHUNK_CHARACTERS):
        block = body[begin : begin + CHUNK_CHARACTERS]
        try:
            decoder.decode(block, begin + len(block) == len(body))
        except UnicodeDecodeError as error:
            position = begin + len(block) - len(error.object) + error.start
            line = body.count(b"\n", 0, position) + 1
            raise Refused(400, f"The body is not valid UTF-8 (line {line}).") from None


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], schema: Schema, ids: bool) -> dict[str, list[Any]]:
    """The schema's columns of ``rows`` (each as long as ``header``), and ``id`` where callers may have one."""
    found = {}
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        if name in schema.index or (ids and name == "id"):
            feature = schema.features[schema.index[name]] if name in schema.index else None
            found[name] = values(cells, feature)
    return found


def encode(rows: Iterable[Iterable[Any]]) -> bytes:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def check_type(request: Request) -> None:
    """Raise :class:`Refused` with 415 unless the body is declared as plain CSV in UTF-8 with a header."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "The body must not be compressed.")
    if request.mimetype != "text/csv":
        raise Refused(415, "Content-Type must be text/csv or application/json.")
    parameters = request.mimetype_params
    if parameters.get("charset", "utf-8").lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise Refused(415, "CSV must be in UTF-8.")
    if parameters.get("header", "present") != "present":
        raise Refused(415, "CSV must have a header.")
