"""Inputs as chunks of whole rows, in order; the same chunks every time a file is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelbundle.schema import Feature
from modelbundle.validation.csv_cells import header_problems
from modelbundle.validation.validator import Validator, unescape
from portfolio.errors import PortfolioError
from portfolio.files.csv_rows import LONGEST_ROW, line_breaks, row_ends, whole_rows
from portfolio.files.locations import CSV, Place, told

CHUNK_BYTES = 4 << 20  # of CSV
CHUNK_ROWS = 32_768  # of Parquet
MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows to be scored: CSV without its header, or a stream of Arrow. ``line`` is that of the first row, from 1."""

    number: int
    source: int
    data: bytes
    line: int
    read: float  # how much of all inputs had been read at its end, 0 to 1


@dataclass(frozen=True)
class Source:
    """One input file. ``schema`` has a string per column of CSV; ``size`` (bytes) and ``changed`` identify it."""

    place: Place
    name: str
    kind: str
    size: int
    changed: int
    schema: pa.Schema
    rows: int | None

    def fingerprint(self) -> list[Any]:
        """What must be the same for a run to go on."""
        return [self.name, self.size, self.changed]

    def has_changed(self) -> bool:
        """Whether the file is not what it was when it was opened."""
        info = self.place.info()
        return (info.size, info.mtime_ns or 0) != (self.size, self.changed)

    def chunks(self, coded: Sequence[str]) -> Iterator[tuple[bytes, int, float]]:
        """Data, first line, and the share of the file that is read; Parquet's columns ``coded`` come as dictionaries.

        Raises :class:`PortfolioError`.
        """
        with told(str(self.place)):
            yield from self._csv() if self.kind == CSV else self._parquet(coded)

    def _csv(self) -> Iterator[tuple[bytes, int, float]]:
        with self.place.system.open_input_stream(self.place.path) as stream:
            rest, line, read = _header(stream, self.place)[1:]
            while True:
                block = stream.read(CHUNK_BYTES)
                read += len(block)
                rest += block
                end = whole_rows(rest) if block else len(rest)
                if end:
                    yield rest[:end], line, min(read / max(self.size, 1), 1.0)
                    line += line_breaks(rest[:end])
                    rest = rest[end:]
                elif len(rest) > LONGEST_ROW:
                    raise PortfolioError(f"{self.place}: line {line} is longer than {LONGEST_ROW >> 20} MiB")
                if not block:
                    return

    def _parquet(self, coded: Sequence[str]) -> Iterator[tuple[bytes, int, float]]:
        with self.place.system.open_input_file(self.place.path) as file:
            table = pq.ParquetFile(file, read_dictionary=list(coded), pre_buffer=False, memory_map=False)
            done = 0
            for batch in table.iter_batches(CHUNK_ROWS, use_threads=False):
                done += len(batch)
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                yield sink.getvalue().to_pybytes(), 0, done / max(self.rows or 1, 1)


def _header(stream: Any, place: Place) -> tuple[list[str], bytes, int, int]:
    """The first row, what was read after it, the line where that begins, and how many bytes were read."""
    found = b""
    while block := stream.read(min(CHUNK_BYTES, 1 << 16)):
        found += block
        if end := next(row_ends(found), 0):
            break
        if len(found) > LONGEST_ROW:
            raise PortfolioError(f"{place}: its header is longer than {LONGEST_ROW >> 20} MiB")
    else:
        end = len(found)
    try:
        text = found[:end].removeprefix(MARK).decode()
    except UnicodeDecodeError:
        raise PortfolioError(f"{place}: its header is not valid UTF-8") from None
    header = next(csv.reader(io.StringIO(text, newline="")), [])
    if not header:
        raise PortfolioError(f"{place}: is empty; it must be CSV with a header")
    return header, found[end:], 1 + line_breaks(found[:end]), len(found)


def open_source(place: Place, name: str, kind: str, info: Any) -> Source:
    """The input with its columns; raises :class:`PortfolioError` where it cannot be read."""
    rows = None
    with told(str(place)):
        if kind == CSV:
            with place.system.open_input_stream(place.path) as stream:
                header = _header(stream, place)[0]
            schema = pa.schema([(column, pa.string()) for column in header])
        else:
            try:
                with place.system.open_input_file(place.path) as file:
                    read = pq.ParquetFile(file)
                    schema, rows = read.schema_arrow, read.metadata.num_rows
            except pa.ArrowException as error:
                raise PortfolioError(f"{place}: is not Parquet ({' '.join(str(error).split())})") from None
    return Source(place, name, kind, info.size, info.mtime_ns or 0, schema, rows)


def check(name: str, schema: pa.Schema, text: bool, validator: Validator, added: Sequence[str]) -> None:
    """Raise :class:`PortfolioError` where the model cannot score these columns; of ``text`` the cells decide."""
    found = [f"{unescape(p.pointer[1:])}: {p.detail}" for p in header_problems(schema.names, validator, added)]
    features = {feature.name: feature for feature in validator.schema}
    for field in schema:
        if not text and field.name in features and not _fits(field.type, features[field.name]):
            what = "numbers" if features[field.name].kind == "number" else "strings"
            found.append(f"{field.name}: must be {what}, not {field.type}")
    if found:
        raise PortfolioError(f"{name} does not fit the model's schema: {'; '.join(found)}")


def _fits(kind: pa.DataType, feature: Feature) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_null(kind):
        return True
    if feature.kind == "number":
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))
    return is_text(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
