"""Reads a block of CSV into columns of text, with the same cells as Python's ``csv`` reader, which the API uses.

Arrow's reader is many times faster. It is used when the two cannot differ: every quotation mark opens or closes a cell, no
carriage return ends a line by itself, the text is valid UTF-8, and each row has as many cells as the header. Any other block
is read by Python's reader.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from modelbundle.validation import csv_cells
from portfolio.files.csv_rows import lone_returns, tidy

UNCLOSED = "ends inside quotation marks: one of them is not closed"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that is not scored: its position in the block, the JSON pointers and errors, and the row itself as JSON."""

    position: int
    pointer: str
    error: str
    record: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a block: those that fit into columns, with their positions, the rejected ones, and the count of both."""

    batch: pa.RecordBatch
    positions: NDArray[np.intp]
    rejected: list[RejectedRow]
    count: int
    lines: list[int] | None = field(default=None)


def read(block: bytes, names: Sequence[str], numbers: Sequence[str], coded: Sequence[str]) -> Rows:
    """Read a block without header as text; the columns ``coded`` become dictionaries of text.

    The columns ``numbers`` become float64, with null for an empty cell, if all their cells are plain numbers; otherwise text.
    """
    quoted = b'"' in block
    if not lone_returns(block) and (not quoted or (tidy(block) and block.count(b'"') % 2 == 0)):
        for plain in (numbers, ()) if numbers else ((),):
            try:
                batch = _fast(block, names, plain, coded, quoted)
            except pa.ArrowInvalid:
                continue
            if all(_finite(batch.column(names.index(name))) for name in plain):
                return Rows(batch, np.arange(len(batch)), [], len(batch))
    return _exact(block, names, coded)


def _fast(
    block: bytes, names: Sequence[str], numbers: Sequence[str], coded: Sequence[str], quoted: bool
) -> pa.RecordBatch:
    types = dict.fromkeys(names, pa.string())
    types |= dict.fromkeys(coded, pa.dictionary(pa.int32(), pa.string()))
    types |= dict.fromkeys(numbers, pa.float64())
    table = pacsv.read_csv(
        pa.py_buffer(block),
        pacsv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(names)),
        pacsv.ParseOptions(quote_char='"' if quoted else False, newlines_in_values=quoted),
        pacsv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=False, check_utf8=not block.isascii()
        ),
    )
    return as_batch(table)


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """Return the rows of a table as one batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def _finite(column: pa.Array) -> bool:
    total = pc.sum(column).as_py()
    if total is None or math.isfinite(total):  # a number that is not finite makes the sum so
        return True
    values = column.to_numpy(zero_copy_only=False)
    return bool((np.isfinite(values) | column.is_null().to_numpy(zero_copy_only=False)).all())


def _exact(block: bytes, names: Sequence[str], coded: Sequence[str]) -> Rows:
    kept: list[list[str]] = []
    positions, lines = [], []
    rejected = []
    count = 0
    for line, row in numbered(block):
        lines.append(line)
        if isinstance(row, csv_cells.Unclosed):
            rejected.append(RejectedRow(count, "", UNCLOSED, as_json(row)))
        elif len(row) != len(names):
            error = f"has {len(row)} cells where the header has {len(names)}"
            rejected.append(RejectedRow(count, "", error, as_json(row)))
        elif not all(map(_is_unicode, row)):
            pointers = [n for n, cell in zip(names, row, strict=True) if not _is_unicode(cell)]
            error = "; ".join(f"{name}: must be valid UTF-8" for name in pointers)
            record = as_json(dict(zip(names, row, strict=True)))
            rejected.append(RejectedRow(count, " ".join(f"/{n}" for n in pointers), error, record))
        else:
            kept.append(row)
            positions.append(count)
        count += 1
    columns = list(zip(*kept, strict=True)) or [()] * len(names)
    arrays = [pa.array(column, pa.string()) for column in columns]
    arrays = [a.dictionary_encode() if n in coded else a for n, a in zip(names, arrays, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, list(names))
    return Rows(batch, np.array(positions, dtype=np.intp), rejected, count, lines)


def numbered(block: bytes, first: int = 0) -> list[tuple[int, list[str]]]:
    """Return each row that is not empty, with its line in the block, counted from ``first``."""
    text = io.StringIO(block.decode("utf-8", "surrogateescape"), newline="")
    return [(first + line - 1, row) for line, row in csv_cells.rows(text) if row]


def _is_unicode(cell: str) -> bool:
    return cell.isascii() or not any("\ud800" <= character <= "\udfff" for character in cell)


def as_json(record: object) -> str:
    """Return a row for the file of rejected rows; invalid Unicode is escaped, and NaN and infinity are texts."""
    try:
        text = json.dumps(record, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite_json(record), ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()


def _finite_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite_json(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite_json(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
