"""A process that scores chunks. It loads the model once, and writes a part per chunk into the work directory."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path

import numpy as np
import pyarrow as pa

from modelbundle.format import bundle
from modelbundle.model import Model
from portfolio.files.csv_columns import RejectedRow, Rows, numbered, read
from portfolio.files.csv_rows import plain_lines
from portfolio.files.encoders import OutputFormat, lines, row_groups
from portfolio.files.locations import CSV, Location
from portfolio.files.parquet_columns import readable
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    pa.set_memory_pool(pa.system_memory_pool())  # other pools keep freed memory
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
    """Score a chunk: write its part and its rejected rows."""
    assert _state is not None
    options, model = _state
    source = options.inputs[chunk.source]
    form = options.outputs[source.output]
    text = source.kind == CSV
    rows, block = _rows(source, model, chunk, form.kind == CSV)
    batch, columns, unfit = score(model, _partitioned(rows.batch, source), text=text, with_reasons=options.with_reasons)
    aside = b""
    if unfit or rows.rejected:
        found = [RejectedRow(int(rows.positions[r.position]), r.pointer, r.error, r.record) for r in unfit]
        rejected = sorted(found + rows.rejected, key=lambda row: row.position)
        aside = _reject_lines(rejected, rows, chunk, block)
        rejects_path(options.folder, chunk.number).write_bytes(aside)
    groups = b""
    if form.kind == CSV:
        content = lines(batch, model, _read_lines(rows, unfit, block), len(source.names))
    else:
        encoded = row_groups(with_numbers(model, batch, columns) if text else batch, form)
        content, groups = [encoded.data], encoded.groups
    size = checksum = 0
    with part(options.folder, chunk.number).open("wb") as file:
        for data in content:
            size += file.write(data)
            checksum = zlib.crc32(data, checksum)
    return FinishedChunk(
        number=chunk.number,
        source=chunk.source,
        rows=rows.count,
        rejected=len(unfit) + len(rows.rejected),
        part_bytes=size,
        part_crc=checksum,
        aside_bytes=len(aside),
        aside_crc=zlib.crc32(aside),
        groups=base64.b64encode(groups).decode(),
    )


def _rows(source: InputFormat, model: Model, chunk: Chunk, as_csv: bool) -> tuple[Rows, bytes]:
    """The rows of a chunk, and their bytes if they are CSV."""
    features = {f.name: f.kind for f in model.schema if f.name in source.names}
    categories = [name for name, kind in features.items() if kind == "category"]
    reader = _reader(source, chunk.source, categories)
    if source.kind != CSV:
        return readable(reader.parquet(chunk.span), model.schema.names, as_csv), b""
    block = reader.csv(chunk.span)
    return read(block, source.names, [n for n in features if n not in categories], categories), block


def _reader(source: InputFormat, position: int, coded: Sequence[str]) -> SpanReader:
    """The reader of an input; the worker keeps the last one open."""
    global _last
    if _last is None or _last[0] != position:
        _last = position, SpanReader(source.location, coded)
    return _last[1]


def _read_lines(rows: Rows, unfit: Sequence[RejectedRow], block: bytes) -> pa.Array | None:
    """The lines of the rows that were scored, if each is just its cells."""
    found = plain_lines(block, rows.count) if block and rows.lines is None else None
    if found is None or not unfit:
        return found
    kept = np.ones(rows.count, dtype=bool)
    kept[[row.position for row in unfit]] = False
    return found.filter(pa.array(kept))


def _partitioned(batch: pa.RecordBatch, source: InputFormat) -> pa.RecordBatch:
    """The batch with the columns whose value is in the file's path."""
    for name, value in source.partition:
        codes = pa.array(np.zeros(len(batch), dtype=np.int32), mask=np.full(len(batch), value is None))
        batch = batch.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([value or ""], pa.string())))
    return batch


def _reject_lines(rejected: Sequence[RejectedRow], rows: Rows, chunk: Chunk, block: bytes) -> bytes:
    places = rows.lines
    if block and places is None:
        places = [line for line, _ in numbered(block)]
    found = []
    for row in rejected:
        line = chunk.span.line + places[row.position] if places is not None else None
        found.append(json.dumps([row.position, line, row.pointer, row.error, row.record]))
    return ("\n".join(found) + "\n").encode()
