"""A process that scores chunks: it loads the model once, and leaves a part in the work directory per chunk."""

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
from portfolio.files.csv_columns import Aside, Rows, numbered, read
from portfolio.files.locations import CSV
from portfolio.files.readers import Chunk
from portfolio.job.checkpoint import Done, part
from portfolio.job.checkpoint import aside as aside_path
from portfolio.scoring import score, with_numbers


@dataclass(frozen=True, slots=True)
class Shape:
    """An input: its kind, its columns, and the kind of its output."""

    kind: str
    names: tuple[str, ...]
    output: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What every worker is told once."""

    model: Path
    version: str
    allow_pickle: bool
    with_reasons: bool
    folder: Path
    shapes: tuple[Shape, ...]


_state: tuple[Setting, Model] | None = None


def start(setting: Setting) -> None:
    """Load the model; end when the parent does, however it ends."""
    global _state
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    pa.set_memory_pool(pa.system_memory_pool())  # the others keep what was freed
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _state = setting, bundle.read(setting.model, setting.version, allow_pickle=setting.allow_pickle)


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def work(chunk: Chunk) -> Done:
    """Score a chunk into its part, and set bad rows aside."""
    assert _state is not None
    setting, model = _state
    shape = setting.shapes[chunk.source]
    text = shape.kind == CSV
    rows = _rows(shape, model, chunk, text)
    batch, columns, aside = score(model, rows.batch, text=text, with_reasons=setting.with_reasons)
    aside = [Aside(int(rows.positions[a.position]), a.pointer, a.error, a.record) for a in aside]
    set_aside = sorted(aside + rows.aside, key=lambda a: a.position)
    aside_bytes = 0
    if set_aside:
        aside_bytes = write(aside_path(setting.folder, chunk.number), _asides(set_aside, rows, chunk, text))
    if text and shape.output != CSV:
        batch = with_numbers(model, batch, columns)
    content = _csv(batch, model) if shape.output == CSV else _arrow(batch)
    part_bytes = write(part(setting.folder, chunk.number), content)
    return Done(chunk.number, chunk.source, rows.count, len(set_aside), part_bytes, aside_bytes)


def _rows(shape: Shape, model: Model, chunk: Chunk, text: bool) -> Rows:
    if not text:
        with pa.ipc.open_stream(chunk.data) as stream:
            batch = stream.read_next_batch()
        return Rows(batch, np.arange(len(batch)), [], len(batch))
    names = shape.names
    features = [f for f in model.schema if f.name in names]
    numbers = [f.name for f in features if f.kind == "number"] if shape.output != CSV else []
    return read(chunk.data, names, numbers, [f.name for f in features if f.kind == "category"])


def _asides(aside: Sequence[Aside], rows: Rows, chunk: Chunk, text: bool) -> bytes:
    lines = rows.lines
    if text and lines is None:
        lines = [line for line, _ in numbered(chunk.data)]
    found = []
    for a in aside:
        line = chunk.line + lines[a.position] if lines is not None else None
        found.append(json.dumps([a.position, line, a.pointer, a.error, a.record]))
    return ("\n".join(found) + "\n").encode()


def _csv(batch: pa.RecordBatch, model: Model) -> pa.Buffer:
    """Lines without a header; a cell is quoted only where it must be."""
    version = pa.scalar(model.version, pa.string())
    cells = [_cells(column) for column in batch.columns]
    lines = pc.binary_join_element_wise(*cells, version, ",", null_handling="replace", null_replacement="")
    lines = pc.binary_join_element_wise(lines, "", pa.scalar("\n"))
    return lines.buffers()[2] or pa.py_buffer(b"")


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
    """An Arrow file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
