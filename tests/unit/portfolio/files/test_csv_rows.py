"""Blocks of whole rows, wherever a file is cut."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from portfolio.files.csv_rows import line_breaks, row_ends, tidy, whole_rows

TEXT = st.text('a,"\n\r', max_size=16).map(str.encode)


def rows(block: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(block.decode("latin-1"), newline="")))


@given(TEXT, TEXT)
def test_a_cut_changes_no_row(block: bytes, rest: bytes) -> None:
    """What Python's reader makes of two pieces is what it makes of the whole, whatever follows."""
    end = whole_rows(block)
    assert rows(block[:end]) + rows(block[end:] + rest) == rows(block + rest)


@given(TEXT)
def test_the_ends_are_the_readers(block: bytes) -> None:
    """Each piece between two ends is one row (or an empty line)."""
    begin = 0
    for end in row_ends(block):
        assert rows(block[begin:end]) == rows(block)[: len(rows(block[begin:end]))] or begin
        assert len(rows(block[begin:end])) == 1
        begin = end


def test_tidy_blocks_are_cut_without_reading_them() -> None:
    """Quoted line breaks are no ends, in the fast way and in the slow one."""
    good = b'a,"x\ny"\nb,"z\n'
    assert tidy(b'a,"x\ny"\n')
    assert whole_rows(good) == 8
    stray = b'5" pipe,"x\ny"\nb,"z\n'
    assert not tidy(stray)
    assert whole_rows(stray) == 14


def test_a_row_without_an_end_is_none() -> None:
    """More has to be read first; a carriage return at the end may be half of a line break."""
    for block in (b"", b"a,b", b'"a\nb', b'"a\n"', b"a\r"):
        assert whole_rows(block) == 0


def test_line_breaks_of_all_kinds_are_counted() -> None:
    assert line_breaks(b"a\nb\r\nc\rd") == 3
