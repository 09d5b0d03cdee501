"""Finds where rows of CSV end, by the rules of Python's ``csv`` reader, which the API uses.

A file is cut into blocks of whole rows, so that each can be read by itself. A quoted line break does not end a row; a quotation
mark opens a quoted cell only at the start of the cell. If every mark opens or closes a cell (*tidy*), counting the marks tells
inside from outside; Python's reader walks any other block.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LONGEST_ROW = 16 << 20  # bytes: as the API's largest body; what is longer is an unclosed quotation mark
QUOTE, COMMA, LF, CR = b'",\n\r'
csv.field_size_limit(LONGEST_ROW)


def whole_rows(block: bytes) -> int:
    """Return the length of the whole rows at the start of ``block``, when more may follow; 0 if its first row does not end."""
    if b'"' not in block:
        return _last_break(block, len(block))
    quotes = np.flatnonzero(np.frombuffer(block, np.uint8) == QUOTE)
    if not _tidy(block, quotes):
        return max(row_ends(block), default=0)
    end = _last_break(block, len(block))
    while end and (before := int(np.searchsorted(quotes, end))) % 2:
        end = _last_break(block, int(quotes[before - 1]))
    return end


def _last_break(block: bytes, before: int) -> int:
    """Return the end of the last line of ``block[:before]``; a carriage return at the very end may be half of a pair."""
    return block.rfind(b"\n", 0, before) + 1 or block.rfind(b"\r", 0, min(before, len(block) - 1)) + 1


def row_ends(block: bytes) -> Iterator[int]:
    """Yield the end of each whole row of ``block``, as Python's reader finds it."""
    at, exhausted = 0, False

    def lines() -> Iterator[str]:
        nonlocal at, exhausted
        for line in io.StringIO(block.decode("latin-1"), newline=""):  # a character per byte
            at += len(line)
            yield line
        exhausted = True

    for _ in csv.reader(lines()):
        if not exhausted and (block[at - 1] == LF or (block[at - 1] == CR and at < len(block))):
            yield at


def line_breaks(block: bytes, end: int | None = None) -> int:
    """Count the lines that end in ``block``, before ``end`` if it is given."""
    if b"\r" in block:
        return block[:end].count(b"\n") + lone_returns(block[:end])
    return int(np.count_nonzero(np.frombuffer(block, np.uint8)[:end] == LF))  # faster than ``count``


def lone_returns(block: bytes) -> int:
    """Count the carriage returns that end a line by themselves."""
    return block.count(b"\r") - block.count(b"\r\n") if b"\r" in block else 0


def plain_lines(block: bytes, rows: int) -> pa.Array | None:
    """The ``rows`` lines of a block, each after its line break, which the first lacks; None if a line is not just its cells.

    A line is the cells of its row, separated by commas, where the block has no quotation mark and no carriage return.
    """
    if b'"' in block or b"\r" in block:
        return None
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == LF).astype(np.int32)
    if not block.endswith(b"\n"):
        ends = np.append(ends, np.int32(len(block)))
    if len(ends) != rows:  # an empty line is not a row
        return None
    begins = pa.py_buffer(np.concatenate([np.zeros(1, np.int32), ends]))
    return pa.StringArray.from_buffers(rows, begins, pa.py_buffer(block))


def tidy(block: bytes) -> bool:
    """Return whether every quotation mark opens or closes a whole cell, or is one of a pair within a cell."""
    return b'"' not in block or _tidy(block, np.flatnonzero(np.frombuffer(block, np.uint8) == QUOTE))


def _tidy(block: bytes, quotes: NDArray[np.intp]) -> bool:
    data = np.frombuffer(block, np.uint8)
    paired = np.diff(quotes) == 1
    opening, closing = quotes[::2], quotes[1::2]
    before = data[opening - 1]  # of a mark at the very start this is the last byte; it is let through below
    starts = (before == COMMA) | (before == LF) | (before == CR) | (opening == 0)
    starts[1:] |= paired[1::2]
    after = data[(closing + 1) % len(data)]
    ends = (after == COMMA) | (after == LF) | (after == CR) | (closing == len(data) - 1)
    ends[: len(paired[1::2])] |= paired[1::2]
    return bool(starts.all() and ends.all())
