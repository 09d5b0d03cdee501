"""Opens inputs: their columns, their headers, and whether a model can score them."""

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
from portfolio.files.csv_rows import LONGEST_ROW, line_breaks, row_ends
from portfolio.files.locations import CSV, Location, errors_about

HEADER_BYTES = 1 << 16  # that are read at a time
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class InputFile:
    """One input file. ``schema`` has a string per column of CSV; ``size`` (bytes) and ``changed`` identify it.

    ``partition`` has the columns whose value is in the file's path, as Hive and Spark write them; they come last in the schema.
    ``groups`` has the number of rows of each row group of Parquet, and ``encoded`` the bytes of all before their compression.
    """

    location: Location
    name: str
    kind: str
    size: int
    changed: int
    schema: pa.Schema
    rows: int | None
    partition: tuple[tuple[str, str | None], ...] = ()
    groups: tuple[int, ...] = ()
    encoded: int = 0

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


def header(stream: Any, location: Location) -> tuple[list[str], bytes, int, int]:
    """The first row that is not empty, what was read after it, the line where that begins, and how many bytes were read."""
    found = b""
    begin = end = 0
    names: list[str] = []
    while not names:
        end = next((end for end in row_ends(found[begin:])), 0) + begin
        if end > begin:
            names, begin = _cells(found[begin:end], location), end
            continue
        if len(found) > LONGEST_ROW:
            raise PortfolioError(f"{location}: its header is longer than {LONGEST_ROW >> 20} MiB")
        if not (block := stream.read(HEADER_BYTES)):
            names, begin = _cells(found[begin:], location), len(found)
            break
        found += block
    if not names:
        raise PortfolioError(f"{location}: is empty; it must be CSV with a header")
    return names, found[begin:], 1 + line_breaks(found[:begin]), len(found)


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
    rows, encoded = None, 0
    groups: tuple[int, ...] = ()
    with errors_about(str(location)):
        if kind == CSV:
            with location.system.open_input_stream(location.path) as stream:
                names = header(stream, location)[0]
            schema = pa.schema([(column, pa.string()) for column in names])
        else:
            try:
                with location.system.open_input_file(location.path) as file:
                    read = pq.ParquetFile(file)
                    schema, rows = read.schema_arrow, read.metadata.num_rows
                    found = [read.metadata.row_group(i) for i in range(read.metadata.num_row_groups)]
                    groups, encoded = tuple(g.num_rows for g in found), sum(g.total_byte_size for g in found)
            except pa.ArrowException as error:
                raise PortfolioError(f"{location}: is not Parquet ({' '.join(str(error).split())})") from None
    partition = tuple((key, value) for key, value in partition_of(name) if key not in schema.names)
    for key, _ in partition:
        schema = schema.append(pa.field(key, pa.string()))
    return InputFile(location, name, kind, info.size, info.mtime_ns or 0, schema, rows, partition, groups, encoded)


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
