"""Encodes scored rows as the bytes that an output is made of: lines of CSV, or row groups of Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelbundle.model import Model
from modelbundle.validation import csv_cells
from portfolio.files import parquet_footer
from portfolio.files.added_columns import ADDED
from portfolio.files.csv_rows import LF
from portfolio.files.parquet_footer import Encoded
from portfolio.files.readers import is_text

LINES = 1 << 15  # of CSV that are encoded at a time
DICTIONARY_BYTES = 16 << 20  # of a column in a row group; longer ones are stored as plain values


@dataclass(frozen=True)
class OutputFormat:
    """How an output file is written. ``schema`` has the columns as readers see them, with the input's metadata.

    Of Parquet, the columns ``coded`` arrive as dictionaries of text, the columns ``few``, which have few distinct values, are
    stored as dictionaries, and the columns ``dense`` are not compressed. The columns ``coded`` get no statistics: nearly every
    row group has all their values.
    """

    kind: str
    schema: pa.Schema
    coded: tuple[str, ...] = ()
    few: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()

    @property
    def stored(self) -> pa.Schema:
        """The schema of the rows that the Parquet writer gets."""
        text = pa.dictionary(pa.int32(), pa.string())
        return pa.schema([f.with_type(text) if f.name in self.coded and is_text(f.type) else f for f in self.schema])

    def last(self, columns: Sequence[str]) -> OutputFormat:
        """The format of these columns, the last ones, by themselves."""
        return replace(self, schema=pa.schema([self.schema.field(name) for name in columns]))

    def parquet(self, rows: pa.Table | None, metadata: Mapping[bytes, bytes] | None = None) -> pa.Buffer:
        """A Parquet file with the rows as one row group, or without rows."""
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink,
            self.stored,
            compression={f.name: "none" if f.name in self.dense else "zstd" for f in self.schema},
            use_dictionary=list(self.few),
            dictionary_pagesize_limit=DICTIONARY_BYTES,
            write_statistics=[f.name for f in self.schema if f.name not in self.coded],
            store_schema=False,
        ) as writer:
            if rows is not None:
                writer.write_table(rows.cast(self.stored), row_group_size=len(rows))
            if metadata:
                writer.add_key_value_metadata(metadata)
        return sink.getvalue()


def row_groups(batches: list[pa.RecordBatch], form: OutputFormat) -> Encoded:
    """Encode rows as a row group; no rows are none. Takes the batches out of the list, whose memory it needs."""
    rows = pa.Table.from_batches(batches)
    if len(batches) > 1:
        rows = rows.unify_dictionaries()
    batches.clear()
    return parquet_footer.split(form.parquet(rows if len(rows) else None))


def lines(rows: pa.RecordBatch, model: Model, read: pa.Array | None, covered: int) -> Iterator[memoryview]:
    """Encode rows as lines of CSV without a header, some at a time. A cell is quoted only if it must be.

    ``read`` are the lines that the rows were read from, as :func:`portfolio.files.csv_rows.plain_lines` gives them: they are
    copied, and stand for the first ``covered`` columns.
    """
    for begin in range(0, len(rows), LINES):
        own = None if read is None else read.slice(begin, LINES)
        joined = memoryview(_lines(rows.slice(begin, LINES), model, own, covered).buffers()[2]).cast("B")
        yield joined[joined[0] == LF :]
        yield memoryview(b"\n")


def _lines(rows: pa.RecordBatch, model: Model, read: pa.Array | None, covered: int) -> pa.Array:
    """The lines, each after its line break, which the first may lack."""
    names = csv_cells.answer_names(ADDED, model.schema)
    own = [rows.column(name) for name in rows.schema.names if name not in names]
    if read is None:
        read, covered = _join("\n", _cells(own[0]), ""), 1
    columns = [read, *map(_cells, own[covered:])]
    prediction, probability, *texts = (rows.column(name) for name in names)
    columns += [_labels(prediction, model), probability.cast(pa.string()), _joined(texts, model.version)]
    return _join(*columns, ",")


def _join(*columns: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*columns, null_handling="replace", null_replacement="")


def _labels(prediction: pa.Array, model: Model) -> pa.Array:
    labels = pa.array([csv_cells.label(label) for label in model.classes])
    return labels.take(pc.index_in(prediction, pa.array(list(model.classes), prediction.type)))


def _joined(columns: Sequence[pa.Array], version: str) -> pa.Array:
    """The cells of columns of dictionaries and the model's version, joined once per distinct combination."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        codes *= len(column.dictionary) + 1
        codes += column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
    coded = pa.array(codes).dictionary_encode()
    left = coded.dictionary.to_numpy()
    cells: list[pa.Array] = []
    for column in reversed(columns):
        left, own = np.divmod(left, len(column.dictionary) + 1)
        cells.insert(0, _cells(column.dictionary.take(pa.array(own, mask=own == len(column.dictionary)))))
    texts = _join(*cells, pa.scalar(version), ",")
    return pa.DictionaryArray.from_arrays(coded.indices, texts).dictionary_decode()


def _cells(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _cells(column.dictionary)).dictionary_decode()
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    special = pc.match_substring_regex(column, '[",\n\r]')
    if not pc.any(special).as_py():
        return column
    quoted = _join('"', pc.replace_substring(column, '"', '""'), '"', "")
    return pc.if_else(special, quoted, column)
