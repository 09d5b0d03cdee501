"""CSV in: a header, and rows whose cells become the values that the schema expects."""

from __future__ import annotations

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
from services.web.problem import Refused

MOST_OTHERS = 200  # columns that the schema does not have
LARGEST_CELL = 1 << 27  # a cell is never cut by the reader: what is too long is named on its row
csv.field_size_limit(LARGEST_CELL)


class Table:
    """A CSV document in UTF-8 (RFC 4180, with a header). Raises :class:`Refused` with 400 where it cannot be read as one."""

    def __init__(self, body: bytes) -> None:
        try:
            self._text = body.decode("utf-8-sig")  # spreadsheets write a byte-order mark
        except UnicodeDecodeError as error:
            line = body.count(b"\n", 0, error.start) + 1
            raise Refused(400, f"The body is not valid UTF-8 (line {line}).") from None
        self._rows = (
            row for _, row in csv_cells.rows(io.StringIO(self._text, newline="")) if row and row != ["sep=", ""]
        )
        self.header = next(self._rows, [])
        if not self.header:
            raise Refused(400, "The body is empty; it must be CSV with a header.")
        if isinstance(self.header, csv_cells.Unclosed):
            raise Refused(400, f"The header {self.header.detail}.")

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
        if self._text.count("\n") + self._text.count("\r") <= rows:
            return  # a quoted line break only makes fewer
        reader = filter(None, csv.reader(io.StringIO(self._text, newline="")))
        if sum(1 for _ in islice(reader, rows + 2)) - 1 > rows:
            raise Refused(413, f"The body has more than {rows} rows; at most {rows} are accepted.", max_rows=rows)

    def chunks(self, size: int) -> Iterator[list[list[str]]]:
        """The rows that hold anything, ``size`` at a time; the last is Unclosed where it ends inside quotation marks."""
        while chunk := list(islice(self._rows, size)):
            yield chunk


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
