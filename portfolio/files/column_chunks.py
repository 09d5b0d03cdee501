"""Column chunks of Parquet that an output takes over from its input as bytes, where every row of a row group is scored.

Nothing of them is decoded to be encoded again. They must mean the same under the output's footer: the same types, flat columns,
and a writer whose mistakes readers need not know, since readers see our name in the footer. What other places of the input have
(page indices, Bloom filters) is left out; it only makes readers faster.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from portfolio.errors import PortfolioError
from portfolio.files import parquet_footer
from portfolio.files.encoders import OutputFormat
from portfolio.files.locations import PARQUET
from portfolio.files.parquet_footer import (
    CHUNK_OFFSET,
    COLUMNS,
    GROUP_OFFSET,
    I64,
    MAGIC,
    META_DATA,
    PAGE_OFFSETS,
    ROW_GROUPS,
    ROWS,
    Encoded,
    Reader,
    Struct,
    encode,
    shift,
)
from portfolio.files.readers import InputFile

FEW_ROWS = 1 << 14  # of a row group; smaller ones are put together, and encoded again
MOST_ROWS = 1 << 20  # of a row group; the answers to all its rows are in memory at a time
FOOTER_BYTES = 1 << 20  # of a footer; reading one takes a microsecond per byte
WRITERS = ("parquet-cpp-arrow version", "DuckDB version", "Polars", "parquet-rs version", "parquet-mr version 1.1")
COLUMN_ORDERS = 7  # of FileMetaData: without them, readers do not trust statistics
TOTAL_BYTES, TOTAL_COMPRESSED = 2, 6  # of RowGroup
COMPRESSED_SIZE, DATA_PAGE, DICTIONARY_PAGE, STATISTICS = 7, 9, 11, 12  # of ColumnMetaData
KEPT = (*range(1, 10), DICTIONARY_PAGE, STATISTICS, 13, 16)  # 13 and 16: what pages have which encodings and lengths
ELSEWHERE = {1, 8, 9}  # of ColumnChunk: it is in another file, or encrypted


def may_stay(rows: int) -> bool:
    """Whether a row group of so many rows may be one of the output."""
    return FEW_ROWS <= rows <= MOST_ROWS


def row_groups(source: InputFile, form: OutputFormat) -> list[bytes]:
    """The row groups of an input as entries of a footer, in order; none if an output cannot take over their column chunks."""
    if source.kind != PARQUET or form.kind != PARQUET or not any(map(may_stay, source.groups)):
        return []
    with source.location.system.open_input_file(source.location.path) as file:
        read = pq.ParquetFile(file)
        length = read.metadata.serialized_size
        if length > FOOTER_BYTES or not _means_the_same(read, source, form):
            return []
        end = file.size() - 8 - length
        try:
            fields = Reader(memoryview(file.read_at(length, end))).struct()
            groups = fields[ROW_GROUPS][1][1]
            for group in groups:
                for chunk in group[COLUMNS][1][1]:
                    _strip(chunk, end, COLUMN_ORDERS in fields)
        except (KeyError, ValueError, IndexError):
            return []
    return [encode(group) for group in groups]


def _means_the_same(read: Any, source: InputFile, form: OutputFormat) -> bool:
    if not (read.metadata.created_by or "").startswith(WRITERS):
        return False
    if len(read.schema) != len(source.own_names):  # of a nested column, each part is one
        return False
    made = pq.ParquetFile(pa.BufferReader(form.parquet(None))).schema
    columns = [(read.schema.column(i), made.column(i)) for i in range(len(read.schema))]
    return all(ours.equals(own) and own.path == own.name for own, ours in columns)


def _strip(chunk: Struct, end: int, with_statistics: bool) -> None:
    """Leave what holds at another place; raises :class:`ValueError` where a chunk is not in the file."""
    if ELSEWHERE & chunk.keys():
        raise ValueError("a column chunk is in another file, or encrypted")
    kind, fields = chunk[META_DATA]
    kept = {number: value for number, value in fields.items() if number in KEPT}
    if not with_statistics:
        kept.pop(STATISTICS, None)
    chunk.clear()
    chunk |= {CHUNK_OFFSET: (I64, 0), META_DATA: (kind, kept)}
    begin, size = _place(kept)
    if not len(MAGIC) <= begin <= begin + size <= end:
        raise ValueError("a column chunk is not in the file")


def _place(fields: Struct) -> tuple[int, int]:
    """The first byte of a column chunk, and the number of its bytes."""
    begin = fields[DATA_PAGE][1]
    dictionary = fields.get(DICTIONARY_PAGE, (I64, 0))[1]
    return min(begin, dictionary) if dictionary else begin, fields[COMPRESSED_SIZE][1]


def joined(group: bytes, added: Encoded) -> tuple[list[tuple[int, int]], bytes]:
    """A row group of an input's column chunks, as :func:`row_groups` gives them, and of ``added`` ones, encoded as one row group.

    Returns the places of the former in the input, (begin, size), and the entry in a footer, as if the row group began the file:
    first the bytes of these places, then those of ``added``.
    """
    own = Reader(memoryview(group)).struct()
    both = Reader(memoryview(added.groups)).struct()
    if own[ROWS][1] != both[ROWS][1]:
        raise PortfolioError("a row group of the input has changed while it was read")
    places = []
    at = len(MAGIC)
    for chunk in own[COLUMNS][1][1]:
        fields = chunk[META_DATA][1]
        begin, size = _place(fields)
        shift(fields, PAGE_OFFSETS, at - begin)
        places.append((begin, size))
        at += size
    for chunk in both[COLUMNS][1][1]:
        parquet_footer.shift_chunk(chunk, at - len(MAGIC))
    both[COLUMNS] = (both[COLUMNS][0], (both[COLUMNS][1][0], own[COLUMNS][1][1] + both[COLUMNS][1][1]))
    both[TOTAL_BYTES] = (I64, own[TOTAL_BYTES][1] + both[TOTAL_BYTES][1])
    both[GROUP_OFFSET] = (I64, len(MAGIC))
    both[TOTAL_COMPRESSED] = (I64, at - len(MAGIC) + len(added.data))
    return places, encode(dict(sorted(both.items())))
