"""Blocks of CSV as columns: what the API's reader makes of them, by the fast way and by the exact one."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelbundle.schema import Feature, Schema
from modelbundle.scorers.base import plain
from modelbundle.validation import csv_cells
from portfolio.files import csv_columns
from portfolio.scoring import column_of

CELL = st.text('a,"\n\r 1é', max_size=6)
AMOUNT = Feature("amount", "number", required=False)


def expected(block: bytes) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(block.decode(), newline="")) if row]


def closed(block: bytes) -> bool:
    """Whether the text does not end inside quotation marks: a line after it is a row of its own."""
    return expected(block + b"\nZ")[-1] == ["Z"]


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), st.booleans())
def test_written_rows_are_read_back(rows: list[tuple[str, str]], quote: bool) -> None:
    """Whatever the cells hold: quotes, commas, line breaks, nothing."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL).writerows(rows)
    found = csv_columns.read(text.getvalue().encode(), ["x", "y"], [], ["y"])
    assert [tuple(row.values()) for row in found.batch.to_pylist()] == rows


@given(st.text('a,"\n\r', max_size=24).map(str.encode))
@example(b'"a"b,c\n')
@example(b'5" pipe,x\n')
@example(b"a,b\rc,d\r")
@example(b'a,"b\n\nc"\n\n\nd,e\n')
@example(b'"a,b\nc,d\n')
def test_anything_is_read_as_the_api_reads_it(block: bytes) -> None:
    """Also what is no proper CSV; rows of another width, and one that is not closed, are set aside where they stood."""
    found = csv_columns.read(block, ["x", "y"], [], [])
    rows = expected(block)
    bad = [i for i, row in enumerate(rows) if len(row) != 2 or (i == len(rows) - 1 and not closed(block))]
    assert found.count == len(rows)
    assert [list(row.values()) for row in found.batch.to_pylist()] == [r for i, r in enumerate(rows) if i not in bad]
    assert found.positions.tolist() == [i for i in range(len(rows)) if i not in bad]
    assert [(a.position, json.loads(a.record)) for a in found.rejected] == [(i, rows[i]) for i in bad]


NUMBER = st.one_of(
    st.text("0123456789+-.eE_ naifINFx\t", max_size=8),
    st.floats().map(repr),
    st.floats().map(lambda x: f"{x:.25g}"),
    st.integers(-(10**25), 10**25).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
)


@given(st.lists(NUMBER, min_size=1, max_size=8), st.booleans())
@example(["9007199254740993", "1e23", "0.1", "-0.0", "5e-324", "2.2250738585072011e-308"], True)
@example(["٣"], True)
@example(["1e999"], True)
def test_numbers_are_the_apis_numbers(written: list[str], as_numbers: bool) -> None:
    """Bit for bit Python's own reading, or no number, or missing; whichever way the column is read."""
    text = io.StringIO()
    csv.writer(text).writerows((cell, "x") for cell in written)
    found = csv_columns.read(text.getvalue().encode(), ["amount", "y"], ["amount"] if as_numbers else [], [])
    column, wrong = column_of(found.batch, AMOUNT, True)
    numbers = plain(column)
    for i, value in enumerate(csv_cells.values(written, AMOUNT)):
        assert (wrong is not None and bool(wrong[i])) == (value is False)
        if value is None or value is False:
            assert math.isnan(float(numbers[i]))  # type: ignore[arg-type]
        else:
            assert np.float64(numbers[i]).tobytes() == np.float64(value).tobytes()


def test_text_that_is_not_utf8_is_set_aside_on_its_row() -> None:
    found = csv_columns.read(b"a,b\nK\xf6ln,c\nd,e\n", ["x", "y"], [], [])
    assert found.batch.column("x").to_pylist() == ["a", "d"]
    (rejected,) = found.rejected
    assert (rejected.position, rejected.pointer, rejected.error) == (1, "/x", "x: must be valid UTF-8")


@pytest.mark.parametrize("block", [b'a,"x\ny"\n\nb,c\nd\n', b"a,b\n\n\nc,d\r\ne\n"])
def test_lines_are_those_of_the_file(block: bytes) -> None:
    """The line where a row begins, quoted breaks and empty lines counted."""
    lines = block.decode().splitlines()
    for line, row in csv_columns.numbered(block):
        assert lines[line].startswith(row[0])


def test_a_schema_without_the_column_is_all_missing() -> None:
    schema = Schema((AMOUNT, Feature("kind", "category", required=False)))
    batch = csv_columns.read(b"1\n2\n", ["z"], [], []).batch
    number, text = (plain(column_of(batch, feature, True)[0]) for feature in schema)
    assert np.isnan(np.asarray(number)).all()
    assert text == [None, None]
