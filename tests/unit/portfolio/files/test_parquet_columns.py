"""Parquet as writers really leave it: every type of text, bytes, repeated values in dictionaries, invalid UTF-8."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portfolio.__main__ import main
from tests.conftest import Made, make_book

ROWS = 60
NOTES = [f'he said "a, b"\nand {i}' for i in range(ROWS)]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """A small book, with a column that is not the model's."""
    frame, _ = make_book(ROWS, seed=7)
    book = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for name in ("grade", "purpose"):
        book = changed(book, name, book.column(name).cast(pa.string()))
    return book.append_column("note", pa.array(NOTES))


def changed(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def scored(table: pa.Table, bundle: Path, folder: Path, ending: str = "csv") -> tuple[int, Any, list[dict[str, str]]]:
    """Exit code, the rows of the output, and the rejected ones."""
    folder.mkdir()
    pq.write_table(table, folder / "in.parquet")
    code = main([str(folder / "in.parquet"), str(folder / f"out.{ending}"), "--model", str(bundle), "--quiet"])
    if code:
        return code, None, []
    rejects = folder / f"out.{ending}.rejected.csv"
    rejected = read(rejects) if rejects.exists() else []
    if ending == "parquet":
        return code, pq.read_table(folder / "out.parquet"), rejected
    return code, read(folder / "out.csv"), rejected


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


TEXTS = [
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.dictionary(pa.int8(), pa.large_string()),
]


@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_every_type_of_text_gives_the_same_rows(
    kind: pa.DataType, table: pa.Table, bundles: list[Made], tmp_path: Path
) -> None:
    """Quoted where a cell must be, into CSV; and unchanged into Parquet, where a column keeps its type."""
    other = changed(table, "note", table.column("note").cast(kind))
    other = changed(other, "purpose", other.column("purpose").cast(kind))
    _, expected, _ = scored(table, bundles[0].path, tmp_path / "plain")
    assert scored(other, bundles[0].path, tmp_path / "other")[1] == expected
    _, kept, _ = scored(other, bundles[0].path, tmp_path / "kept", "parquet")
    assert kept.column("probability").to_pylist() == [float(row["probability"]) for row in expected]
    assert [bytes(v, "utf-8") if isinstance(v, str) else v for v in kept.column("note").to_pylist()] == [
        note.encode() for note in NOTES
    ]


def test_a_dictionary_may_repeat_a_value(table: pa.Table, bundles: list[Made], tmp_path: Path) -> None:
    """As DuckDB writes ENUMs."""
    codes = pa.array(np.arange(ROWS) % 3, pa.uint8())
    twice = pa.DictionaryArray.from_arrays(codes, pa.array(["car", "boat", "car"]))
    plain = changed(table, "purpose", twice.dictionary_decode())
    for ending in ("csv", "parquet"):
        _, expected, _ = scored(plain, bundles[0].path, tmp_path / f"plain {ending}", ending)
        _, found, _ = scored(changed(table, "purpose", twice), bundles[0].path, tmp_path / f"twice {ending}", ending)
        if ending == "csv":
            assert found == expected
        else:
            assert found.column("probability").equals(expected.column("probability"))
            assert found.column("purpose").to_pylist() == expected.column("purpose").to_pylist()


def broken(values: list[bytes]) -> pa.Array:
    """Text whose bytes nobody checked."""
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(values), raw.buffers())


@pytest.mark.parametrize("name", ["purpose", "note"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_text_that_is_not_utf8_is_rejected_by_row(
    name: str, ending: str, table: pa.Table, bundles: list[Made], tmp_path: Path
) -> None:
    """The others are scored."""
    values = [b"b\xffat" if i % 20 == 0 else b"boat" for i in range(ROWS)]
    _, found, rejected = scored(changed(table, name, broken(values)), bundles[0].path, tmp_path / "x", ending)
    assert len(found) == ROWS - 3
    assert [(row["row"], row["pointer"], row["error"]) for row in rejected] == [
        (str(i), f"/{name}", f"{name}: must be valid UTF-8") for i in (1, 21, 41)
    ]
    assert json.loads(rejected[0]["record"])[name] == "b\\xffat"


@pytest.mark.parametrize("column", [[[1, 2]] * ROWS, [{"a": 1}] * ROWS], ids=["list", "struct"])
def test_what_csv_cannot_hold_is_said_before_anything_is_scored(
    column: Any, table: pa.Table, bundles: list[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parquet holds it."""
    nested = changed(table, "note", pa.array(column))
    assert scored(nested, bundles[0].path, tmp_path / "csv")[0] == 1
    assert "note: " in (said := capsys.readouterr().err)
    assert "cannot be written as CSV; write Parquet" in said
    assert scored(nested, bundles[0].path, tmp_path / "kept", "parquet")[1].column("note").to_pylist() == column


def test_when_every_row_is_rejected_there_is_only_a_header(
    table: pa.Table, bundles: list[Made], tmp_path: Path
) -> None:
    """And no bytes that are no text."""
    bad = changed(table, "int_rate", pa.array([5.0] * ROWS))
    _, found, rejected = scored(bad, bundles[0].path, tmp_path / "x")
    assert (found, len(rejected)) == ([], ROWS)
    assert (tmp_path / "x" / "out.csv").read_bytes().count(b"\n") == 1
    assert b"\0" not in (tmp_path / "x" / "out.csv").read_bytes()


def test_columns_in_the_path_are_read(table: pa.Table, bundles: list[Made], tmp_path: Path) -> None:
    """Hive's partitions: without the column the score is another, and a borrower is told a false reason."""
    names = [name for name in table.schema.names if name not in ("emp_length", "purpose")]
    for k, (purpose, years) in enumerate([("boat", "7"), ("car", "__HIVE_DEFAULT_PARTITION__"), ("a%20b", "2")]):
        folder = tmp_path / "in" / f"purpose={purpose}" / f"emp_length={years}"
        folder.mkdir(parents=True)
        pq.write_table(table.select(names).slice(20 * k, 20), folder / "part.parquet")
    code = main([str(tmp_path / "in"), str(tmp_path / "out.parquet"), "--model", str(bundles[0].path), "--quiet"])
    assert code == 0
    found = pq.read_table(tmp_path / "out.parquet")
    parts = [("a b", 2.0), ("boat", 7.0), ("car", None)]
    whole = pa.concat_tables([table.slice(20 * k, 20) for k in (2, 0, 1)])
    whole = changed(whole, "purpose", pa.array([p for p, _ in parts for _ in range(20)]))
    whole = changed(whole, "emp_length", pa.array([y for _, y in parts for _ in range(20)], pa.float64()))
    _, expected, _ = scored(whole, bundles[0].path, tmp_path / "whole", "parquet")
    assert found.column("probability").equals(expected.column("probability"))
    assert found.column("reasons").to_pylist() == expected.column("reasons").to_pylist()
    assert found.column("purpose").to_pylist() == whole.column("purpose").to_pylist()


def test_files_of_one_directory_may_differ_in_types_only(table: pa.Table, bundles: list[Made], tmp_path: Path) -> None:
    """Text and large text, whole numbers and fractions, nothing and numbers: one table."""
    (tmp_path / "in").mkdir()
    for k in range(3):
        part = table.slice(20 * k, 20)
        if k == 1:
            part = changed(part, "note", part.column("note").cast(pa.large_string()))
            part = changed(part, "emp_length", pa.nulls(20))
        if k == 2:
            part = changed(part, "amount", part.column("amount").cast(pa.int64()))
        pq.write_table(part, tmp_path / "in" / f"{k}.parquet")
    code = main([str(tmp_path / "in"), str(tmp_path / "out.parquet"), "--model", str(bundles[0].path), "--quiet"])
    assert code == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == ROWS


def test_absent_optional_features_are_said_once(
    table: pa.Table, bundles: list[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one under another name is taken for a mistake."""
    scored(table.drop_columns(["emp_length"]), bundles[0].path, tmp_path / "x")
    assert "not in the input, so missing on every row: emp_length" in capsys.readouterr().out
    names = ["EMP_LENGTH" if name == "emp_length" else name for name in table.schema.names]
    assert scored(table.rename_columns(names), bundles[0].path, tmp_path / "y")[0] == 1
    assert "EMP_LENGTH: unknown field; did you mean `emp_length`?" in capsys.readouterr().err
