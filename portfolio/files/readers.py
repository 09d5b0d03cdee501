"""Reads inputs as chunks of whole rows, in order. A file gives the same chunks each time it is read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from modelbundle.schema import Feature
from modelbundle.validation import csv_cells
from modelbundle.validation.csv_cells import header_problems
from modelbundle.validation.problems import unescape
from modelbundle.validation.validator import Validator
from portfolio.errors import PortfolioError
from portfolio.files.csv_rows import LONGEST_ROW, line_breaks, row_ends, whole_rows
from portfolio.files.locations import CSV, Location, errors_about

CHUNK_BYTES = 4 << 20  # of CSV
CHUNK_ROWS = 32_768  # of Parquet
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
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
    """One input file. ``schema`` has a string per column of CSV; ``size`` (bytes) and ``changed`` identify it.

    ``partition`` has the columns whose value is in the file's path, as Hive and Spark write them; they come last in the schema.
    """

    location: Location
    name: str
    kind: str
    size: int
    changed: int
    schema: pa.Schema
    rows: int | None
    partition: tuple[tuple[str, str | None], ...] = ()

    @property
    def own_names(self) -> tuple[str, ...]:
        """The columns that are in the file itself."""
        return tuple(self.schema.names[: len(self.schema) - len(self.partition)])

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
    """The first row that is not empty, what was read after it, the line where that begins, and how many bytes were read."""
    found = b""
    begin = end = 0
    header: list[str] = []
    while not header:
        end = next((end for end in row_ends(found[begin:])), 0) + begin
        if end > begin:
            header, begin = _cells(found[begin:end], location), end
            continue
        if len(found) > LONGEST_ROW:
            raise PortfolioError(f"{location}: its header is longer than {LONGEST_ROW >> 20} MiB")
        if not (block := stream.read(min(CHUNK_BYTES, 1 << 16))):
            header, begin = _cells(found[begin:], location), len(found)
            break
        found += block
    if not header:
        raise PortfolioError(f"{location}: is empty; it must be CSV with a header")
    return header, found[begin:], 1 + line_breaks(found[:begin]), len(found)


def _cells(row: bytes, location: Location) -> list[str]:
    """The cells of a header; none of an empty line, and of the line ``sep=,`` that is for spreadsheets."""
    try:
        text = row.removeprefix(MARK).decode()
    except UnicodeDecodeError:
        raise PortfolioError(f"{location}: its header is not valid UTF-8") from None
    _, header = next(csv_cells.rows(io.StringIO(text, newline="")), (1, []))
    if isinstance(header, csv_cells.Unclosed):
        raise PortfolioError(f"{location}: its header ends inside quotation marks")
    return [] if header == ["sep=", ""] else header


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
    partition = tuple((key, value) for key, value in partition_of(name) if key not in schema.names)
    for key, _ in partition:
        schema = schema.append(pa.field(key, pa.string()))
    return InputFile(location, name, kind, info.size, info.mtime_ns or 0, schema, rows, partition)


def partition_of(name: str) -> Iterator[tuple[str, str | None]]:
    """Names and values in the directories of a relative path: ``purpose=car/grade=B/part.parquet``; None is missing."""
    for folder in PurePosixPath(name).parts[:-1]:
        key, equals, value = folder.partition("=")
        if equals:
            yield unquote(key), None if value == NO_VALUE else unquote(value)


def check(
    name: str,
    schema: pa.Schema,
    text: bool,
    validator: Validator,
    added: Sequence[str],
    partition: Sequence[str] = (),
    as_csv: bool = False,
) -> None:
    """Raise :class:`PortfolioError` if the model cannot score these columns, or the answer cannot hold them.

    The types of ``text`` and of the columns of a ``partition`` are not checked.
    """
    found = [f"{unescape(p.pointer[1:])}: {p.detail}" for p in header_problems(schema.names, validator, added)]
    features = {feature.name: feature for feature in validator.schema}
    for field in schema:
        if as_csv and pa.types.is_nested(field.type):
            found.append(f"{field.name}: {field.type} cannot be written as CSV; write Parquet")
        if text or field.name in partition:
            continue
        if field.name in features and not _fits(field.type, features[field.name]):
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
        whole = types.is_integer(kind) or types.is_boolean(kind) or types.is_timestamp(kind) or types.is_date(kind)
        return bool(whole or types.is_floating(kind) or types.is_decimal(kind))
    return is_text(kind) or is_bytes(kind)


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is a string type of Arrow."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's for bytes: some writers do not say that these are text."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
