"""Joins encoded Parquet files: their row groups are copied as bytes, and only the footer is made anew.

A footer is a structure of Apache Thrift's compact protocol. It gives the place of each column chunk from the start of the file,
so a row group that is copied to another place needs these numbers shifted. Everything else in it stays as it was, whether this
module knows it or not. The field numbers are those of ``parquet.thrift`` in the Parquet format's specification. Files with a
page index cannot be joined so: the index, which is not in the footer, has places too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAGIC = b"PAR1"
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
INTEGERS = (I16, I32, I64)
ROWS, ROW_GROUPS = 3, 4  # of FileMetaData
COLUMNS, GROUP_OFFSET, ORDINAL = 1, 5, 7  # of RowGroup
CHUNK_OFFSET, META_DATA, PAGE_INDEX = 2, 3, 4  # of ColumnChunk
PAGE_OFFSETS = (9, 10, 11, 14)  # of ColumnMetaData: data, index and dictionary pages, and the Bloom filter

Struct = dict[int, tuple[int, Any]]  # the type and the value of each field, in the order of the file


@dataclass(frozen=True, slots=True)
class Encoded:
    """The row groups of a Parquet file: their bytes, and their entries in its footer."""

    data: memoryview
    groups: bytes


def split(file: Any) -> Encoded:
    """The row groups of a whole Parquet file in memory, a buffer that this process has just written."""
    view = memoryview(file).cast("B")
    size = int.from_bytes(view[-8:-4], "little")
    fields = Reader(view[len(view) - 8 - size : len(view) - 8]).struct()
    groups = b"".join(map(encode, fields[ROW_GROUPS][1][1])) if ROW_GROUPS in fields else b""
    return Encoded(view[len(MAGIC) : len(view) - 8 - size], groups)


def moved(groups: bytes, at: int, first: int) -> list[bytes]:
    """The entries of row groups whose bytes are at ``at`` in another file, where the first of them is row group ``first``."""
    reader = Reader(memoryview(groups))
    found: list[bytes] = []
    while reader.at < len(groups):
        group = _moved(reader.struct(), at - len(MAGIC))
        if ORDINAL in group:
            group[ORDINAL] = (I16, first + len(found))
        found.append(encode(group))
    return found


def footer(empty: Any, groups: list[bytes], rows: int) -> bytes:
    """The end of a file with these row groups. ``empty`` is a file without rows, of the same schema and metadata."""
    view = memoryview(empty).cast("B")
    size = int.from_bytes(view[-8:-4], "little")
    fields = Reader(view[len(view) - 8 - size : len(view) - 8]).struct()
    fields[ROWS] = (I64, rows)
    fields[ROW_GROUPS] = (LIST, (STRUCT, groups))
    encoded = encode(fields)
    return encoded + len(encoded).to_bytes(4, "little") + MAGIC


def _moved(group: Struct, by: int) -> Struct:
    shift(group, (GROUP_OFFSET,), by)
    for chunk in group[COLUMNS][1][1]:
        shift_chunk(chunk, by)
    return group


def shift_chunk(chunk: Struct, by: int) -> None:
    """Say that a column chunk begins ``by`` bytes later in its file."""
    if PAGE_INDEX in chunk:
        raise ValueError("a Parquet file with a page index cannot be joined to another")
    shift(chunk, (CHUNK_OFFSET,), by)
    if META_DATA in chunk:
        shift(chunk[META_DATA][1], PAGE_OFFSETS, by)


def shift(fields: Struct, offsets: tuple[int, ...], by: int) -> None:
    """Add ``by`` to the offsets that a structure has."""
    for field in offsets:
        if field in fields and (offset := fields[field][1]):  # writers leave an old offset 0
            fields[field] = (fields[field][0], offset + by)


class Reader:
    """Reads structures of the compact protocol from bytes that begin at ``at``."""

    def __init__(self, data: memoryview, at: int = 0) -> None:
        self._data = data
        self.at = at

    def struct(self) -> Struct:
        """The structure that begins here."""
        fields: Struct = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._integer()
            fields[number] = (kind, kind == TRUE if kind in (TRUE, FALSE) else self._value(kind))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in INTEGERS:
            return self._integer()
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind == STRUCT:
            return self.struct()
        if kind in (LIST, SET):
            head = self._byte()
            size = head >> 4 if head >> 4 < 15 else self._varint()
            return head & 15, [self._value(head & 15) for _ in range(size)]
        if kind == DOUBLE:
            return self._bytes(8)
        if kind in (BYTE, TRUE, FALSE):  # in a list, a truth value is a byte
            return self._byte()
        raise ValueError(f"type {kind} of Thrift is not in a Parquet footer")

    def _integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) > 127:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _bytes(self, size: int) -> bytes:
        self.at += size
        return bytes(self._data[self.at - size : self.at])


def encode(fields: Struct) -> bytes:
    """A structure in the compact protocol. A value of type STRUCT may be encoded already."""
    written = bytearray()
    _write_struct(written, fields)
    return bytes(written)


def _write_struct(written: bytearray, fields: Struct) -> None:
    before = 0
    for number, (kind, value) in fields.items():
        if kind in (TRUE, FALSE):
            kind = TRUE if value else FALSE
        if 0 < number - before < 16:
            written.append((number - before) << 4 | kind)
        else:
            written.append(kind)
            _write_integer(written, number)
        if kind not in (TRUE, FALSE):
            _write(written, kind, value)
        before = number
    written.append(0)


def _write(written: bytearray, kind: int, value: Any) -> None:
    if kind in INTEGERS:
        _write_integer(written, value)
    elif kind == BINARY:
        _write_varint(written, len(value))
        written += value
    elif kind == STRUCT and isinstance(value, bytes):
        written += value
    elif kind == STRUCT:
        _write_struct(written, value)
    elif kind in (LIST, SET):
        inner, values = value
        written.append(min(len(values), 15) << 4 | inner)
        if len(values) > 14:
            _write_varint(written, len(values))
        for one in values:
            _write(written, inner, one)
    elif kind == DOUBLE:
        written += value
    else:
        written.append(value)


def _write_integer(written: bytearray, number: int) -> None:
    _write_varint(written, number << 1 if number >= 0 else (-number << 1) - 1)


def _write_varint(written: bytearray, number: int) -> None:
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
