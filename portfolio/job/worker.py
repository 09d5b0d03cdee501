"""A process that scores chunks. It loads the model once, and writes a part per chunk into the work directory."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelbundle.durable import write
from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.validation import csv_cells
from portfolio.files.added_columns import PREDICTION
from portfolio.files.csv_columns import RejectedRow, Rows, numbered, read
from portfolio.files.locations import CSV
from portfolio.files.parquet_columns import readable
from portfolio.files.readers import Chunk
from portfolio.job.checkpoint import FinishedChunk, part
from portfolio.job.checkpoint import rejects as rejects_path
from portfolio.scoring import score, with_numbers


@dataclass(frozen=True, slots=True)
class InputFormat:
    """The kind of an input, its own columns, the kind of its output, and the columns that its path adds."""

    kind: str
    names: tuple[str, ...]
    output: str
    partition: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options that each worker gets when it starts."""

    model: Path
    version: str
    allow_pickle: bool
    with_reasons: bool
    folder: Path
    inputs: tuple[InputFormat, ...]


_state: tuple[WorkerOptions, Model] | None = None


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
    text = source.kind == CSV
    rows = _rows(source, model, chunk, text)
    batch, columns, unfit = score(model, _partitioned(rows.batch, source), text=text, with_reasons=options.with_reasons)
    unfit = [RejectedRow(int(rows.positions[r.position]), r.pointer, r.error, r.record) for r in unfit]
    rejected = sorted(unfit + rows.rejected, key=lambda row: row.position)
    aside_bytes = 0
    if rejected:
        aside_bytes = write(rejects_path(options.folder, chunk.number), _reject_lines(rejected, rows, chunk, text))
    if text and source.output != CSV:
        batch = with_numbers(model, batch, columns)
    content = _csv(batch, model) if source.output == CSV else _arrow(batch)
    part_bytes = write(part(options.folder, chunk.number), content)
    return FinishedChunk(chunk.number, chunk.source, rows.count, len(rejected), part_bytes, aside_bytes)


def _rows(source: InputFormat, model: Model, chunk: Chunk, text: bool) -> Rows:
    if not text:
        with pa.ipc.open_stream(chunk.data) as stream:
            return readable(stream.read_next_batch(), model.schema.names, source.output == CSV)
    names = source.names
    features = [f for f in model.schema if f.name in names]
    numbers = [f.name for f in features if f.kind == "number"] if source.output != CSV else []
    return read(chunk.data, names, numbers, [f.name for f in features if f.kind == "category"])


def _partitioned(batch: pa.RecordBatch, source: InputFormat) -> pa.RecordBatch:
    """The batch with the columns whose value is in the file's path."""
    for name, value in source.partition:
        codes = pa.array(np.zeros(len(batch), dtype=np.int32), mask=np.full(len(batch), value is None))
        batch = batch.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([value or ""], pa.string())))
    return batch


def _reject_lines(rejected: Sequence[RejectedRow], rows: Rows, chunk: Chunk, text: bool) -> bytes:
    lines = rows.lines
    if text and lines is None:
        lines = [line for line, _ in numbered(chunk.data)]
    found = []
    for row in rejected:
        line = chunk.line + lines[row.position] if lines is not None else None
        found.append(json.dumps([row.position, line, row.pointer, row.error, row.record]))
    return ("\n".join(found) + "\n").encode()


def _csv(batch: pa.RecordBatch, model: Model) -> pa.Buffer:
    """Return lines without a header. A cell is quoted only if it must be."""
    if not len(batch):
        return pa.py_buffer(b"")
    version = pa.scalar(model.version, pa.string())
    (name,) = csv_cells.answer_names([PREDICTION], model.schema)
    classes = pa.array(list(model.classes), batch.schema.field(name).type)
    labels = pa.array([csv_cells.label(label) for label in model.classes])
    said = labels.take(pc.index_in(batch.column(name), classes))
    batch = batch.set_column(batch.schema.get_field_index(name), name, said)
    cells = [_cells(column) for column in batch.columns]
    lines = pc.binary_join_element_wise(*cells, version, ",", null_handling="replace", null_replacement="")
    lines = pc.binary_join_element_wise(lines, "", pa.scalar("\n"))
    return lines.buffers()[2]


def _cells(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _cells(column.dictionary)).dictionary_decode()
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    special = pc.match_substring_regex(column, '[",\n\r]')
    if not pc.any(special).as_py():
        return column
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
    return pc.if_else(special, quoted, column)


def _arrow(batch: pa.RecordBatch) -> pa.Buffer:
    """Return an Arrow file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
