"""Reads inputs as chunks of whole rows, in order. A file gives the same chunks each time it is read."""

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
from modelbundle.validation.problems import unescape
from modelbundle.validation.validator import Validator
from portfolio.errors import PortfolioError
from portfolio.files.csv_rows import LONGEST_ROW, line_breaks, row_ends, whole_rows
from portfolio.files.locations import CSV, Location, errors_about

CHUNK_BYTES = 4 << 20  # of CSV
CHUNK_ROWS = 32_768  # of Parquet
MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows to score: CSV without a header, or an Arrow stream. ``line`` is the line of the first row, counted from 1."""

    number: int
    source: int
    data: bytes
    line: int
    read: float  # the share of all inputs that is read at its end, 0 to 1


@dataclass(frozen=True)
class InputFile:
    """One input file. ``schema`` has a string per column of CSV; ``size`` (bytes) and ``changed`` identify it."""

    location: Location
    name: str
    kind: str
    size: int
    changed: int
    schema: pa.Schema
    rows: int | None

    def fingerprint(self) -> list[Any]:
        """Return what must be equal for a run to continue."""
        return [self.name, self.size, self.changed]

    def has_changed(self) -> bool:
        """Return whether the file has changed since it was opened."""
        info = self.location.info()
        return (info.size, info.mtime_ns or 0) != (self.size, self.changed)

    def chunks(self, coded: Sequence[str]) -> Iterator[tuple[bytes, int, float]]:
        """Data, first line, and the share of the file that is read; Parquet's columns ``coded`` come as dictionaries.

        Raises :class:`PortfolioError`.
        """
        with errors_about(str(self.location)):
            yield from self._csv() if self.kind == CSV else self._parquet(coded)

    def _csv(self) -> Iterator[tuple[bytes, int, float]]:
        with self.location.system.open_input_stream(self.location.path) as stream:
            rest, line, read = _header(stream, self.location)[1:]
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
                    raise PortfolioError(f"{self.location}: line {line} is longer than {LONGEST_ROW >> 20} MiB")
                if not block:
                    return

    def _parquet(self, coded: Sequence[str]) -> Iterator[tuple[bytes, int, float]]:
        with self.location.system.open_input_file(self.location.path) as file:
            table = pq.ParquetFile(file, read_dictionary=list(coded), pre_buffer=False, memory_map=False)
            done = 0
            for batch in table.iter_batches(CHUNK_ROWS, use_threads=False):
                done += len(batch)
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                yield sink.getvalue().to_pybytes(), 0, done / max(self.rows or 1, 1)


def _header(stream: Any, location: Location) -> tuple[list[str], bytes, int, int]:
    """The first row, what was read after it, the line where that begins, and how many bytes were read."""
    found = b""
    while block := stream.read(min(CHUNK_BYTES, 1 << 16)):
        found += block
        if end := next(row_ends(found), 0):
            break
        if len(found) > LONGEST_ROW:
            raise PortfolioError(f"{location}: its header is longer than {LONGEST_ROW >> 20} MiB")
    else:
        end = len(found)
    try:
        text = found[:end].removeprefix(MARK).decode()
    except UnicodeDecodeError:
        raise PortfolioError(f"{location}: its header is not valid UTF-8") from None
    header = next(csv.reader(io.StringIO(text, newline="")), [])
    if not header:
        raise PortfolioError(f"{location}: is empty; it must be CSV with a header")
    return header, found[end:], 1 + line_breaks(found[:end]), len(found)


def open_source(location: Location, name: str, kind: str, info: Any) -> InputFile:
    """The input with its columns; raises :class:`PortfolioError` where it cannot be read."""
    rows = None
    with errors_about(str(location)):
        if kind == CSV:
            with location.system.open_input_stream(location.path) as stream:
                header = _header(stream, location)[0]
            schema = pa.schema([(column, pa.string()) for column in header])
        else:
            try:
                with location.system.open_input_file(location.path) as file:
                    read = pq.ParquetFile(file)
                    schema, rows = read.schema_arrow, read.metadata.num_rows
            except pa.ArrowException as error:
                raise PortfolioError(f"{location}: is not Parquet ({' '.join(str(error).split())})") from None
    return InputFile(location, name, kind, info.size, info.mtime_ns or 0, schema, rows)


def check(name: str, schema: pa.Schema, text: bool, validator: Validator, added: Sequence[str]) -> None:
    """Raise :class:`PortfolioError` if the model cannot score these columns. The types of ``text`` are not checked."""
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
    """Return whether a type is a string type of Arrow."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
