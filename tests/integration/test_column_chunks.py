"""A book whose column chunks the output takes over as bytes: readers see what they would see if each row were encoded again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from portfolio.errors import PortfolioError
from portfolio.files import column_chunks, spans
from portfolio.job.run import Summary, run
from portfolio.options import Options
from tests.conftest import Made

ROWS, GROUP, PIECE = 300, 100, 40
REJECTS = ".rejected.csv"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three row groups of three pieces."""
    pool = pa.default_memory_pool()
    monkeypatch.setattr(column_chunks, "FEW_ROWS", PIECE)
    monkeypatch.setattr(spans, "PIECE_ROWS", PIECE)
    yield
    pa.set_memory_pool(pool)


@pytest.fixture
def frame(bundles: list[Made]) -> pd.DataFrame:
    """Rows that fit, with columns that only pass through."""
    rows = bundles[0].frame.head(ROWS).reset_index(drop=True)
    rows.insert(0, "id", [f"L-{i}" for i in range(ROWS)])
    return rows.assign(
        note=[None if i % 5 == 0 else f"é{i}" for i in range(ROWS)],
        day=pd.date_range("2026-01-01", periods=ROWS),
        whole=pd.array([None if i % 7 == 0 else i - 150 for i in range(ROWS)], "Int32"),
        late=[i % 3 == 0 for i in range(ROWS)],
    )


def write(path: Path, frame: pd.DataFrame | pa.Table, **options: Any) -> Path:
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, path, row_group_size=GROUP, **options)
    return path


def scored(book: Path, out: Path, made: Made) -> Summary:
    return run(Options(str(book), str(out), made.path, workers=1))


def again(book: Path, out: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """The same run, but every row is encoded again."""
    with monkeypatch.context() as patch:
        patch.setattr(column_chunks, "WRITERS", ())
        return scored(book, out, made)


def chunks(path: Path, column: int) -> list[bytes]:
    """The bytes of a column, by row group."""
    raw = path.read_bytes()
    about = pq.ParquetFile(path).metadata
    found = []
    for i in range(about.num_row_groups):
        chunk = about.row_group(i).column(column)
        begin = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
        found.append(raw[begin : begin + chunk.total_compressed_size])
    return found


def table(path: Path) -> pa.Table:
    """The rows; what a table with dictionaries and one without have in common."""
    return pq.ParquetFile(path).read()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "use_dictionary": False, "data_page_size": 200},
        {"compression": "none", "data_page_version": "2.0", "write_statistics": False},
        {"write_page_index": True, "store_schema": False},
        {"bloom_filter_options": {"id": {"ndv": 1000}}, "sorting_columns": [pq.SortingColumn(0)]},
        {"version": "1.0", "write_page_checksum": True},
    ],
)
def test_columns_are_the_inputs_bytes(
    options: dict[str, Any],
    frame: pd.DataFrame,
    bundles: list[Made],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever their encoding; the answers are those of the other way, and filters that use statistics find what is there."""
    book = write(tmp_path / "book.parquet", frame, **options)
    out, reference = tmp_path / "scored.parquet", tmp_path / "reference.parquet"
    assert scored(book, out, bundles[0]).scored == ROWS
    again(book, reference, bundles[0], monkeypatch)
    assert table(out).equals(table(reference))
    assert table(out).schema.equals(table(reference).schema, check_metadata=True)
    columns = len(pq.ParquetFile(book).schema)
    for column in range(columns):
        assert chunks(out, column) == chunks(book, column)
    assert chunks(reference, 0) != chunks(book, 0)
    about = pq.ParquetFile(out).metadata
    assert [about.row_group(i).num_rows for i in range(about.num_row_groups)] == [GROUP] * 3
    assert [about.row_group(i).total_byte_size for i in range(3)] == [
        sum(about.row_group(i).column(j).total_uncompressed_size for j in range(about.num_columns)) for i in range(3)
    ]
    found = ds.dataset(out).to_table(filter=ds.field("id") == "L-250")
    assert found["note"].to_pylist() == [None]
    assert pq.ParquetFile(out, page_checksum_verification=True).read().num_rows == ROWS


@pytest.mark.parametrize("bad", [[0], [150], [199], [45, 250], [5, 105, 205], [100, 140, 180]])
def test_a_row_group_with_a_rejected_row_is_encoded(
    bad: list[int], frame: pd.DataFrame, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in it the row is; the others are taken over, and the rejected rows are the same."""
    frame.loc[bad, "amount"] = -5.0
    book = write(tmp_path / "book.parquet", frame)
    out, reference = tmp_path / "scored.parquet", tmp_path / "reference.parquet"
    summary = scored(book, out, bundles[0])
    again(book, reference, bundles[0], monkeypatch)
    assert (summary.rejected, summary.rows) == (len(bad), ROWS)
    assert table(out).equals(table(reference))
    assert len({Path(f"{path}{REJECTS}").read_bytes() for path in (out, reference)}) == 1
    whole = {i for i in range(3) if not any(i == row // GROUP for row in bad)}
    assert {i for i, own in enumerate(chunks(book, 0)) if own in chunks(out, 0)} == whole


def test_what_would_mean_something_else_is_encoded(
    frame: pd.DataFrame, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested columns, times of an old type, a footer that is long, small row groups, and what an unknown writer wrote."""
    plain = pa.Table.from_pandas(frame, preserve_index=False)
    nested = plain.append_column("tags", pa.array([[str(i)] for i in range(ROWS)]))
    books = {
        "nested": write(tmp_path / "nested.parquet", nested),
        "old times": write(tmp_path / "old.parquet", plain, use_deprecated_int96_timestamps=True),
        "small": tmp_path / "small.parquet",
    }
    pq.write_table(plain, books["small"], row_group_size=PIECE - 1)
    for name, book in books.items():
        out = tmp_path / f"{name}.scored.parquet"
        assert scored(book, out, bundles[0]).scored == ROWS
        assert chunks(out, 0) != chunks(book, 0)
        assert table(out)["id"].equals(plain["id"])
    book = write(tmp_path / "book.parquet", plain)
    out = tmp_path / "scored.parquet"
    scored(book, out, bundles[0])
    assert chunks(out, 0) == chunks(book, 0)
    with monkeypatch.context() as patch:
        patch.setattr(column_chunks, "FOOTER_BYTES", 100)
        scored(book, tmp_path / "long.parquet", bundles[0])
    again(book, tmp_path / "unknown.parquet", bundles[0], monkeypatch)
    for name in ("long", "unknown"):
        path = tmp_path / f"{name}.parquet"
        assert chunks(path, 0) != chunks(book, 0)
        assert table(path).equals(table(out))


def test_columns_that_may_not_be_missing_and_columns_of_the_path(
    frame: pd.DataFrame, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns of the path are encoded, between the file's and the answers."""
    plain = pa.Table.from_pandas(frame.drop(columns="purpose"), preserve_index=False)
    required = [f.with_nullable(f.name not in ("id", "late")) for f in plain.schema]
    folder = tmp_path / "books" / "purpose=car"
    folder.mkdir(parents=True)
    book = write(folder / "a.parquet", plain.cast(pa.schema(required)))
    out, reference = tmp_path / "scored.parquet", tmp_path / "reference.parquet"
    scored(tmp_path / "books", out, bundles[0])
    again(tmp_path / "books", reference, bundles[0], monkeypatch)
    assert table(out).equals(table(reference))
    assert set(table(out)["purpose"].to_pylist()) == {"car"}
    assert chunks(out, 0) == chunks(book, 0)
    assert not pq.ParquetFile(out).schema_arrow.field("id").nullable


def test_a_file_that_changes_while_it_is_read_gives_no_output(
    frame: pd.DataFrame, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row group that has become shorter is an error in one line."""
    book = write(tmp_path / "book.parquet", frame)
    cut = spans.column_chunks.row_groups

    def then_changed(*arguments: Any) -> list[bytes]:
        found = cut(*arguments)
        pq.write_table(pa.Table.from_pandas(frame.head(250), preserve_index=False), book, row_group_size=GROUP)
        return found

    monkeypatch.setattr(column_chunks, "row_groups", then_changed)
    with pytest.raises(PortfolioError, match="changed while it was read"):
        scored(book, tmp_path / "scored.parquet", bundles[0])
    assert not (tmp_path / "scored.parquet").exists()
