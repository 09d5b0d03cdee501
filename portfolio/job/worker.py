"""A process that scores chunks. It loads the model once, and writes a part per chunk into the work directory."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing import connection, parent_process
from pathlib import Path

import numpy as np
import pyarrow as pa

from modelbundle.format import bundle
from modelbundle.model import Model
from portfolio import arrow
from portfolio.files.column_chunks import joined
from portfolio.files.csv_columns import RejectedRow, Rows, numbered, read
from portfolio.files.csv_rows import plain_lines
from portfolio.files.encoders import OutputFormat, lines, row_groups
from portfolio.files.locations import CSV, Location
from portfolio.files.parquet_columns import readable
from portfolio.files.parquet_footer import MAGIC, moved
from portfolio.files.spans import Span, SpanReader
from portfolio.job.checkpoint import FinishedChunk, part
from portfolio.job.checkpoint import rejects as rejects_path
from portfolio.scoring import score, with_numbers


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows to score: a span of input ``source``. ``read`` is the share of all inputs that ends with it, 0 to 1."""

    number: int
    source: int
    span: Span
    read: float


@dataclass(frozen=True, slots=True)
class InputFormat:
    """Where an input is, its kind, its own columns, the columns that its path adds, and the position of its output's format."""

    location: Location
    kind: str
    names: tuple[str, ...]
    partition: tuple[tuple[str, str | None], ...]
    output: int


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options that each worker gets when it starts."""

    model: Path
    version: str
    allow_pickle: bool
    with_reasons: bool
    folder: Path
    inputs: tuple[InputFormat, ...]
    outputs: tuple[OutputFormat, ...]


_state: tuple[WorkerOptions, Model] | None = None
_last: tuple[int, SpanReader] | None = None


def start(options: WorkerOptions) -> None:
    """Load the model. The process ends when its parent ends for any reason."""
    global _state
    if not options.allow_pickle:
        arrow.leave_out_pandas()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    arrow.use_system_memory()
    arrow.keep_freed_memory()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _state = options, bundle.read(options.model, options.version, allow_pickle=options.allow_pickle)


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def score_chunk(chunk: Chunk) -> FinishedChunk:
    """Score a chunk: write its part and its rejected rows, a piece at a time."""
    assert _state is not None
    options, model = _state
    size = checksum = rows = rejected = 0
    aside = groups = b""
    with part(options.folder, chunk.number).open("wb") as file:
        for piece in _pieces(options, model, chunk):
            groups += b"".join(moved(piece.groups, len(MAGIC) + size, 0))
            for data in piece.content:
                size += file.write(data)
                checksum = zlib.crc32(data, checksum)
            rows += piece.rows
            rejected += piece.rejected
            aside += piece.aside
    if rejected:
        rejects_path(options.folder, chunk.number).write_bytes(aside)
    return FinishedChunk(
        number=chunk.number,
        source=chunk.source,
        rows=rows,
        rejected=rejected,
        part_bytes=size,
        part_crc=checksum,
        aside_bytes=len(aside),
        aside_crc=zlib.crc32(aside),
        groups=base64.b64encode(groups).decode(),
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """Scored rows as bytes of the output, their row groups of Parquet as a footer has them, and the rejected rows as lines."""

    content: Iterable[bytes | memoryview]
    groups: bytes
    rows: int
    rejected: int
    aside: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The rows of a piece that fit, with their answers; if lines of CSV are copied, those; how many rows there were; and those
    that do not fit, as lines.
    """

    batch: pa.RecordBatch
    copied: pa.Array | None
    rows: int
    rejected: int
    aside: bytes


def _pieces(options: WorkerOptions, model: Model, chunk: Chunk) -> Iterator[Piece]:
    """Score a chunk piece by piece."""
    if chunk.span.group is not None:
        return _row_group(options, model, chunk, chunk.span.group)
    return _each(options, model, chunk.source, chunk.span.pieces(), 0)


def _each(options: WorkerOptions, model: Model, position: int, spans: Iterable[Span], before: int) -> Iterator[Piece]:
    """Score and encode pieces that follow ``before`` rows of their chunk."""
    source = options.inputs[position]
    for span in spans:
        found = _answered(options, model, position, span, before)
        before += found.rows
        yield _piece(found, model, source, options.outputs[source.output])


def _row_group(options: WorkerOptions, model: Model, chunk: Chunk, group: bytes) -> Iterator[Piece]:
    """Score a row group. The output takes over its column chunks; if a row is rejected, all its pieces are encoded instead."""
    source = options.inputs[chunk.source]
    form = options.outputs[source.output]
    reader = _reader(source, chunk.source, model)
    names = form.schema.names[len(source.names) :]
    added: list[pa.RecordBatch] = []
    before = 0
    spans = list(chunk.span.pieces())
    for span in spans:
        found = _answered(options, model, chunk.source, span, before)
        if found.rejected:
            break
        added.append(found.batch.select(names))
        before += found.rows
    else:
        del found  # its rows; encoding takes memory, too
        reader.rest()
        encoded = row_groups(added, form.last(names))
        places, entry = joined(group, encoded)
        own = chain.from_iterable(reader.blocks(*place) for place in places)
        yield Piece(chain(own, [encoded.data]), entry, before, 0, b"")
        return
    for span, answers in zip(spans, added, strict=False):
        batch = _rows(source, model, reader, span, False)[0].batch
        both = pa.RecordBatch.from_arrays(batch.columns + answers.columns, batch.schema.names + names)
        yield _piece(Answered(both, None, len(both), 0, b""), model, source, form)
    yield _piece(found, model, source, form)
    yield from _each(options, model, chunk.source, spans[len(added) + 1 :], before + found.rows)


def _piece(found: Answered, model: Model, source: InputFormat, form: OutputFormat) -> Piece:
    """Encode a piece."""
    if form.kind == CSV:
        content: Iterable[bytes | memoryview] = lines(found.batch, model, found.copied, len(source.names))
        return Piece(content, b"", found.rows, found.rejected, found.aside)
    encoded = row_groups([found.batch], form)
    return Piece([encoded.data], encoded.groups, found.rows, found.rejected, found.aside)


def _answered(options: WorkerOptions, model: Model, position: int, span: Span, before: int) -> Answered:
    """Score a piece of a chunk that has ``before`` rows before it."""
    source = options.inputs[position]
    as_csv = options.outputs[source.output].kind == CSV
    text = source.kind == CSV
    rows, block, copied = _rows(source, model, _reader(source, position, model), span, as_csv)
    batch, columns, unfit = score(model, _partitioned(rows.batch, source), text=text, with_reasons=options.with_reasons)
    aside = b""
    if copied is not None and unfit:
        unfit, copied = _as_written(source, model, copied, unfit)
    if unfit or rows.rejected:
        found = [RejectedRow(int(rows.positions[r.position]), r.pointer, r.error, r.record) for r in unfit]
        aside = _reject_lines(sorted(found + rows.rejected, key=lambda row: row.position), rows, span, block, before)
    if text and not as_csv:
        batch = with_numbers(model, batch, columns)
    return Answered(batch, copied, rows.count, len(unfit) + len(rows.rejected), aside)


def _rows(
    source: InputFormat, model: Model, reader: SpanReader, span: Span, as_csv: bool
) -> tuple[Rows, bytes, pa.Array | None]:
    """The rows of a piece; if they are CSV, their bytes; and, if they become CSV, their lines, if each is just its cells.

    The numbers of CSV that becomes CSV are numbers only where lines are copied: elsewhere the cells are written as they were.
    """
    if source.kind != CSV:
        return readable(reader.parquet(span), model.schema.names, as_csv), b"", None
    block = reader.csv(span)
    numbers = _own(source, model, "number")
    if not as_csv:
        return read(block, source.names, numbers, _own(source, model, "category")), block, None
    if b'"' not in block and b"\r" not in block:
        rows = read(block, source.names, numbers, _own(source, model, "category"))
        if rows.lines is None and (copied := plain_lines(block, rows.count)) is not None:
            return rows, block, copied
    return read(block, source.names, (), _own(source, model, "category")), block, None


def _own(source: InputFormat, model: Model, kind: str) -> list[str]:
    """The model's numbers or categories that are columns of an input."""
    return [f.name for f in model.schema if f.kind == kind and f.name in source.names]


def _reader(source: InputFormat, position: int, model: Model) -> SpanReader:
    """The reader of an input; the worker keeps the last one open."""
    global _last
    if _last is None or _last[0] != position:
        _last = position, SpanReader(source.location, _own(source, model, "category"))
    return _last[1]


def _as_written(
    source: InputFormat, model: Model, read_lines: pa.Array, unfit: Sequence[RejectedRow]
) -> tuple[list[RejectedRow], pa.Array]:
    """The rejected rows with their cells as text, and the lines of the other rows."""
    places = [row.position for row in unfit]
    block = "\n".join(line.removeprefix("\n") for line in read_lines.take(pa.array(places)).to_pylist()).encode()
    again = read(block, source.names, (), _own(source, model, "category"))
    rejected = score(model, _partitioned(again.batch, source), text=True, with_reasons=False)[2]
    assert len(rejected) == len(unfit)
    kept = np.ones(len(read_lines), dtype=bool)
    kept[places] = False
    return [replace(row, position=places[row.position]) for row in rejected], read_lines.filter(pa.array(kept))


def _partitioned(batch: pa.RecordBatch, source: InputFormat) -> pa.RecordBatch:
    """The batch with the columns whose value is in the file's path."""
    for name, value in source.partition:
        codes = pa.array(np.zeros(len(batch), dtype=np.int32), mask=np.full(len(batch), value is None))
        batch = batch.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([value or ""], pa.string())))
    return batch


def _reject_lines(rejected: Sequence[RejectedRow], rows: Rows, span: Span, block: bytes, before: int) -> bytes:
    places = rows.lines
    if block and places is None:
        places = [line for line, _ in numbered(block)]
    found = []
    for row in rejected:
        line = span.line + places[row.position] if places is not None else None
        found.append(json.dumps([before + row.position, line, row.pointer, row.error, row.record]))
    return ("\n".join(found) + "\n").encode()
