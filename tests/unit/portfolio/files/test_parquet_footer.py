"""Parquet files joined as bytes: what readers see is all their rows, and nothing of a row group is encoded again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from portfolio.files import parquet_footer

ROWS = 3000
TABLE = pa.table(
    {
        "id": [f"L-{i}" for i in range(ROWS)],
        "amount": [None if i % 7 == 0 else i / 3 for i in range(ROWS)],
        "grade": pa.array([None if i % 11 == 0 else "ABCD"[i % 4] for i in range(ROWS)]).dictionary_encode(),
        "whole": pa.array(range(-1500, ROWS - 1500), pa.int16()),
        "cents": pa.array([Decimal(i).scaleb(-2) for i in range(ROWS)], pa.decimal128(9, 2)),
        "late": [i % 3 == 0 for i in range(ROWS)],
        "tags": [[str(i), None] if i % 5 else None for i in range(ROWS)],
        "place": [{"town": f"t{i}", "at": [1.0, i]} for i in range(ROWS)],
    }
)
OPTIONS: list[dict[str, Any]] = [
    {"compression": "zstd"},
    {"compression": "none", "use_dictionary": False, "write_statistics": False},
    {"compression": "snappy", "version": "1.0", "data_page_version": "2.0", "store_schema": False},
    {"bloom_filter_options": {"id": {"ndv": 1000}}},
    {"sorting_columns": [pq.SortingColumn(0)], "row_group_size": 700},
]


def written(table: pa.Table, metadata: dict[str, str] | None = None, **options: Any) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    size = options.pop("row_group_size", None)
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        if len(table):
            writer.write_table(table, row_group_size=size)
        if metadata:
            writer.add_key_value_metadata(metadata)
    return sink.getvalue()


def joined(parts: list[pa.Table], **options: Any) -> bytes:
    """The parts as one file."""
    file = bytearray(parquet_footer.MAGIC)
    groups: list[bytes] = []
    for part in parts:
        encoded = parquet_footer.split(written(part, **options))
        groups += parquet_footer.moved(encoded.groups, len(file), len(groups))
        file += encoded.data
    empty = written(parts[0].slice(0, 0), {"rows": "all"}, **options)
    return bytes(file + parquet_footer.footer(empty, groups, sum(map(len, parts))))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_rows_of_all_parts_are_read(options: dict[str, Any], tmp_path: Path) -> None:
    """In order, whatever the columns, encodings and compression, also by row group and by a filter that uses statistics."""
    parts = [TABLE.slice(0, 1000), TABLE.slice(1000, 0), TABLE.slice(1000, 1999), TABLE.slice(2999)]
    path = tmp_path / "joined.parquet"
    path.write_bytes(joined(parts, **options))
    with pq.ParquetFile(path) as file:
        expected = pq.read_table(pa.BufferReader(written(TABLE, **options)))
        assert file.read().equals(expected)
        about = file.metadata
        sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
        assert sum(sizes) == about.num_rows == ROWS
        assert len(sizes) == (3 if "row_group_size" not in options else 6)
        assert file.read_row_group(len(sizes) - 1)["id"].to_pylist() == ["L-2999"]
        assert about.metadata[b"rows"] == b"all"
    found = ds.dataset(path).to_table(filter=ds.field("id") == "L-2500")
    assert found["amount"].to_pylist() == [2500 / 3]


def test_the_columns_are_where_the_footer_says() -> None:
    """A column chunk of a part is in the joined file with the same bytes, statistics and sizes."""
    parts = [TABLE.slice(0, 500), TABLE.slice(500, 500)]
    raw = joined(parts)
    about = pq.ParquetFile(pa.BufferReader(raw)).metadata
    for group, part in enumerate(parts):
        alone = written(part).to_pybytes()
        own = pq.ParquetFile(pa.BufferReader(alone)).metadata.row_group(0)
        for column in range(about.num_columns):
            facts = [about.row_group(group).column(column), own.column(column)]
            size = {chunk.total_compressed_size for chunk in facts}
            assert len(size) == 1
            begins = [min(filter(None, (c.dictionary_page_offset, c.data_page_offset))) for c in facts]
            begin, alone_begin = begins
            assert raw[begin : begin + min(size)] == alone[alone_begin : alone_begin + min(size)]
            assert facts[0].statistics == facts[1].statistics


@pytest.mark.parametrize("options", OPTIONS)
def test_a_footer_is_written_as_it_was_read(options: dict[str, Any]) -> None:
    """Also the fields that this code has no name for."""
    raw = written(TABLE, {"a": "b"}, **options).to_pybytes()
    size = int.from_bytes(raw[-8:-4], "little")
    footer = raw[-8 - size : -8]
    assert parquet_footer.encode(parquet_footer.Reader(memoryview(footer)).struct()) == footer


def test_a_page_index_is_refused() -> None:
    """Its places are outside the footer, where they would stay as they were."""
    encoded = parquet_footer.split(written(TABLE, write_page_index=True))
    with pytest.raises(ValueError, match="page index"):
        parquet_footer.moved(encoded.groups, 100, 0)
