"""Scored rows as lines of CSV: the same bytes, whether the lines that were read are copied or made of their cells."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest

from modelbundle.format import bundle
from modelbundle.model import Model
from portfolio.files.csv_columns import read
from portfolio.files.csv_rows import plain_lines
from portfolio.files.encoders import lines
from portfolio.scoring import score
from tests.conftest import Made

NAMES = ["id", "amount", "int_rate", "grade", "purpose", "emp_length", "note"]


@pytest.fixture(scope="module")
def model(bundles: list[Made]) -> Model:
    return bundle.read(bundles[0].path)


def block(end: str = "\n") -> bytes:
    rows = (f"L-{i},{1000 + i},0.1{i % 10},{'ABCD'[i % 4]},{['car', 'rocket'][i % 2]},,é{i}" for i in range(40))
    return ("\n".join(rows) + end).encode()


def encoded(data: bytes, model: Model, copied: bool) -> bytes:
    rows = read(data, NAMES, ["amount", "int_rate"] if copied else [], ["grade", "purpose"])
    found, _, unfit = score(model, rows.batch, text=True)
    assert not unfit
    taken = plain_lines(data, rows.count) if copied else None
    assert (taken is None) != copied
    return b"".join(lines(found, model, taken, len(NAMES)))


@pytest.mark.parametrize("end", ["\n", ""])
def test_copied_lines_are_the_cells(model: Model, end: str) -> None:
    """Also if the last line has no end; each line ends with what the model says."""
    made = encoded(block(end), model, copied=False)
    assert encoded(block(end), model, copied=True) == made
    rows = list(csv.reader(io.StringIO(made.decode(), newline="")))
    assert [row[0] for row in rows] == [f"L-{i}" for i in range(40)]
    assert {len(row) for row in rows} == {len(NAMES) + 6}
    assert {row[-1] for row in rows} == {model.version}
    assert any("rocket" in row[-2] or "purpose" in row[-2] for row in rows)


@pytest.mark.parametrize(("data", "rows"), [(b'a,"b"\n', 1), (b"a,b\r\n", 1), (b"a,b\n\nc,d\n", 2), (b"a,b\n\n", 1)])
def test_a_line_that_is_not_just_its_cells_is_not_copied(data: bytes, rows: int) -> None:
    """Quotation marks, carriage returns, and empty lines, which are not rows."""
    assert plain_lines(data, rows) is None


def test_lines_are_copied_from_where_they_begin() -> None:
    """Each after its line break."""
    found = plain_lines(b"a,b\nc,\n,\n", 3)
    assert isinstance(found, pa.StringArray)
    assert found.to_pylist() == ["a,b", "\nc,", "\n,"]
