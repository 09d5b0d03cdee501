"""Inputs in spans: every row is in one of them, whoever reads it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portfolio.errors import PortfolioError
from portfolio.files import readers, spans
from portfolio.files.readers import InputFile
from portfolio.files.spans import SpanReader, cut
from portfolio.job.plan import inputs

GROUPS = [3, 4, 0, 2, 25, 1, 1, 30, 5]
TABLE = pa.table({"row": range(sum(GROUPS)), "grade": ["ABC"[i // 9 % 3] for i in range(sum(GROUPS))]})


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InputFile:
    """Row groups of many sizes, and pieces of at most ten rows."""
    monkeypatch.setattr(spans, "PIECE_ROWS", 10)
    monkeypatch.setattr(spans, "PIECES", 2)
    at = 0
    with pq.ParquetWriter(tmp_path / "book.parquet", TABLE.schema) as writer:
        for rows in GROUPS:
            writer.write_table(TABLE.slice(at, rows), row_group_size=max(rows, 1))
            at += rows
    return inputs(str(tmp_path / "book.parquet"))[0][0]


def test_small_row_groups_are_together_and_large_ones_apart(book: InputFile) -> None:
    """Pieces follow each other, and a row group that is cut shares no span with another."""
    found = [[(piece.begin, piece.size) for piece in span.pieces()] for span in cut(book)]
    cuts = [[(9, 9), (18, 9)], [(27, 7)], [(34, 2)], [(36, 10), (46, 10)], [(56, 10)]]
    assert found == [[(0, 9)], *cuts, [(66, 5)]]
    assert [span.read for span in cut(book)][-1] == 1


@pytest.mark.parametrize("readers", [1, 2, 3])
def test_each_reader_gives_the_rows_of_its_spans(book: InputFile, readers: int) -> None:
    """Also if others read the spans between, and again from the beginning."""
    all_spans = [piece for span in cut(book) for piece in span.pieces()]
    for k in range(readers):
        reader = SpanReader(book.location, ["grade"])
        for span in [*all_spans[k::readers], all_spans[0]]:
            rows = reader.parquet(span)
            expected = TABLE.slice(span.begin, span.size)
            assert rows.column("row").to_pylist() == expected["row"].to_pylist()
            assert rows.column("grade").to_pylist() == expected["grade"].to_pylist()
            assert pa.types.is_dictionary(rows.schema.field("grade").type)


def test_long_texts_make_spans_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a span are bounded by their bytes too."""
    monkeypatch.setattr(spans, "PIECE_BYTES", 10_000)
    table = pa.table({"note": [f"{i:01000}" for i in range(100)]})
    pq.write_table(table, tmp_path / "book.parquet", use_dictionary=False)
    (source,), _ = inputs(str(tmp_path / "book.parquet"))
    pieces = [piece for span in cut(source) for piece in span.pieces()]
    assert max(piece.size for piece in pieces) <= 10
    reader = SpanReader(source.location)
    assert pa.Table.from_batches([reader.parquet(piece) for piece in pieces]).equals(table)


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_csv_is_read_where_it_is_unless_it_is_compressed(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spans together are the file without its header; each says the line of its first row."""
    monkeypatch.setattr(spans, "CHUNK_BYTES", 100)
    monkeypatch.setattr(readers, "HEADER_BYTES", 10)
    body = "".join(f'{i},"a\nb"\n' for i in range(60))
    raw = f"n,text\n{body}".encode()
    path = tmp_path / f"book.{ending}"
    path.write_bytes(gzip.compress(raw) if ending.endswith("gz") else raw)
    (source,), _ = inputs(str(path))
    reader = SpanReader(source.location)
    found = [(span, reader.csv(span)) for span in cut(source)]
    assert len(found) > 3
    assert b"".join(data for _, data in found).decode() == body
    assert all((span.data is None) == (ending == "csv") for span, _ in found)
    assert [span.line for span, _ in found] == [2 + 2 * int(data.split(b",")[0]) for _, data in found]


def test_a_file_that_became_shorter_is_an_error(book: InputFile, tmp_path: Path) -> None:
    """And no endless wait for its rows."""
    last = list(cut(book))[-1]
    pq.write_table(TABLE.slice(0, last.begin + 1), tmp_path / "book.parquet")
    with pytest.raises(PortfolioError, match="changed while it was read"):
        SpanReader(book.location).parquet(last)
