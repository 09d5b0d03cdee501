"""Cuts inputs into spans of whole rows, in order, and reads them. A file gives the same spans each time.

Whoever cuts reads only what tells where rows end. Another process reads the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from portfolio.errors import PortfolioError
from portfolio.files import column_chunks
from portfolio.files.csv_columns import as_batch
from portfolio.files.csv_rows import LONGEST_ROW, line_breaks, whole_rows
from portfolio.files.encoders import OutputFormat
from portfolio.files.locations import COMPRESSED, CSV, Location, errors_about
from portfolio.files.readers import InputFile, header

CHUNK_BYTES = 8 << 20  # of CSV
PIECE_ROWS = 100_000  # of Parquet, at most; a piece is what a process holds at a time
PIECE_VALUES = 2 << 20  # of Parquet, at most: rows times columns
PIECE_BYTES = 32 << 20  # of encoded, not compressed Parquet, at most
BLOCK_BYTES = 4 << 20  # that are copied at a time
PIECES = 3  # of a row group in one span, so that fewer processes decode it


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of an input: ``size`` bytes of CSV from byte ``begin``, or ``size`` rows of Parquet from row ``begin``.

    ``data`` has the bytes of a CSV that cannot be read from any place: it is compressed, or in an object store. ``line`` is the
    line of the first row of CSV, counted from 1; ``piece`` is the number of rows of Parquet to decode at a time, the same for all
    spans of a row group. ``read`` is the share of the input that ends with the span, 0 to 1. ``group`` is of a span that is a row
    group whose column chunks the output may take over (:mod:`portfolio.files.column_chunks`).
    """

    begin: int
    size: int
    read: float
    line: int = 0
    piece: int = 0
    data: bytes | None = None
    group: bytes | None = None

    def pieces(self) -> Iterator[Span]:
        """The span in parts that fit into memory: a span of CSV as it is."""
        for begin in range(self.begin, self.begin + self.size, self.piece or self.size):
            size = min(self.piece or self.size, self.begin + self.size - begin)
            yield replace(self, begin=begin, size=size, group=None)


def cut(source: InputFile, form: OutputFormat | None = None) -> Iterator[Span]:
    """Return the spans of an input, for an output if there is one; raises :class:`PortfolioError`."""
    with errors_about(str(source.location)):
        yield from _csv(source) if source.kind == CSV else _parquet(source, form)


def _csv(source: InputFile) -> Iterator[Span]:
    location = source.location
    with location.system.open_input_stream(location.path) as stream:
        rest, line, read = header(stream, location)[1:]
        if location.local is not None and not location.name.lower().endswith(COMPRESSED):
            yield from _places(source, read - len(rest), line)
            return
        while True:
            block = stream.read(CHUNK_BYTES)
            read += len(block)
            rest += block
            if end := whole_rows(rest) if block else len(rest):
                rows = rest[:end]
                yield Span(read - len(rest), end, min(read / max(source.size, 1), 1.0), line, data=rows)
                line += line_breaks(rows)
                rest = rest[end:]
            elif len(rest) > LONGEST_ROW:
                raise PortfolioError(f"{location}: line {line} is longer than {LONGEST_ROW >> 20} MiB")
            if not block:
                return


def _places(source: InputFile, begin: int, line: int) -> Iterator[Span]:
    """The spans of a CSV that can be read from any place, from byte ``begin`` on; a row that was cut is read again."""
    size = CHUNK_BYTES
    with source.location.system.open_input_file(source.location.path) as file:
        while block := file.read_at(size, begin):
            end = whole_rows(block) if len(block) == size else len(block)
            if end:
                yield Span(begin, end, min((begin + end) / max(source.size, 1), 1.0), line)
                line += line_breaks(block, end)
                begin, size = begin + end, CHUNK_BYTES
            elif size > LONGEST_ROW:
                raise PortfolioError(f"{source.location}: line {line} is longer than {LONGEST_ROW >> 20} MiB")
            else:
                size += CHUNK_BYTES


def _parquet(source: InputFile, form: OutputFormat | None) -> Iterator[Span]:
    """Row groups that are taken over, each by itself; other small ones together, other large ones in equal spans."""
    most = min(
        PIECE_ROWS,
        PIECE_VALUES // max(len(source.schema), 1),
        PIECE_BYTES * (source.rows or 0) // max(source.encoded, 1),
    )
    taken_over = column_chunks.row_groups(source, form) if form else []
    begin = end = 0
    for i, rows in enumerate((*source.groups, None)):  # None is after the end
        alone = bool(taken_over) and rows is not None and column_chunks.may_stay(rows)
        if begin < end and (alone or rows is None or end + rows - begin > most):
            yield from _equal(source, begin, end, most)
            begin = end
        if rows is None:
            return
        if alone:
            yield _span(source, end, end + rows, -(-rows // -(-rows // max(most, 1))), taken_over[i])
            begin = end + rows
        end += rows


def _equal(source: InputFile, begin: int, end: int, most: int) -> Iterator[Span]:
    piece = -(-(end - begin) // -(-(end - begin) // max(most, 1)))
    for first in range(begin, end, PIECES * piece):
        yield _span(source, first, min(first + PIECES * piece, end), piece)


def _span(source: InputFile, begin: int, end: int, piece: int, group: bytes | None = None) -> Span:
    return Span(begin, end - begin, end / max(source.rows or 1, 1), piece=piece, group=group)


class SpanReader:
    """Reads the spans of one input. The columns ``coded`` of Parquet come as dictionaries.

    Spans of one row group that are asked for in order are decoded once: those between them are skipped.
    """

    def __init__(self, location: Location, coded: Sequence[str] = ()) -> None:
        self._location = location
        self._coded = list(coded)
        self._bytes: Any = None
        self._file: Any = None
        self._starts: list[int] = []
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._at = self._end = 0
        self._rest: pa.RecordBatch | None = None

    def csv(self, span: Span) -> bytes:
        """The bytes of a span of CSV; raises :class:`PortfolioError`."""
        if span.data is not None:
            return span.data
        return self._read(span.begin, span.size)

    def blocks(self, begin: int, size: int) -> Iterator[bytes]:
        """``size`` bytes of the file from ``begin`` on, some at a time; raises :class:`PortfolioError`."""
        for at in range(begin, begin + size, BLOCK_BYTES):
            yield self._read(at, min(BLOCK_BYTES, begin + size - at))

    def _read(self, begin: int, size: int) -> bytes:
        with errors_about(str(self._location)):
            if self._bytes is None:
                self._bytes = self._location.system.open_input_file(self._location.path)
            data: bytes = self._bytes.read_at(size, begin)
            return data

    def rest(self) -> None:
        """Let go of what was read ahead."""
        self._at = self._end = 0
        self._batches, self._rest = iter(()), None

    def parquet(self, span: Span) -> pa.RecordBatch:
        """The rows of a piece of Parquet; raises :class:`PortfolioError`, and ``pyarrow.ArrowException`` for damaged pages."""
        with errors_about(str(self._location)):
            if not self._at <= span.begin < self._end:
                self._seek(span)
            found: list[pa.RecordBatch] = []
            while self._at < span.begin + span.size:
                batch = self._rest if self._rest is not None else next(self._batches, None)
                if batch is None:
                    raise PortfolioError(f"{self._location}: changed while it was read")
                skipped = min(max(span.begin - self._at, 0), len(batch))
                taken = min(len(batch), span.begin + span.size - self._at)
                if skipped < taken:
                    found.append(batch.slice(skipped, taken - skipped))
                self._rest = batch.slice(taken) if taken < len(batch) else None
                self._at += taken
        return found[0] if len(found) == 1 else as_batch(pa.Table.from_batches(found))

    def _seek(self, span: Span) -> None:
        """Begin with the row group that has the first row of a span, and end with the one that has the last."""
        if self._file is None:
            file = self._location.system.open_input_file(self._location.path)
            self._file = pq.ParquetFile(
                file, read_dictionary=self._coded, pre_buffer=False, memory_map=False, buffer_size=1 << 20
            )
            about = self._file.metadata
            rows = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
            self._starts = [0, *accumulate(rows)]
        pairs = list(zip(self._starts, self._starts[1:], strict=False))
        groups = [i for i, (begin, end) in enumerate(pairs) if begin < span.begin + span.size and end > span.begin]
        self._at, self._end = self._starts[groups[0]], self._starts[groups[-1] + 1]
        self._batches = self._file.iter_batches(span.piece, row_groups=groups, use_threads=False)
        self._rest = None
