"""Writes the outputs from finished parts. Each file has a temporary name until all files are complete."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from modelbundle.model import Model
from modelbundle.validation.csv_cells import answer_names
from portfolio.errors import PortfolioError
from portfolio.files import parquet_footer
from portfolio.files.added_columns import ADDED, added_types
from portfolio.files.encoders import OutputFormat
from portfolio.files.locations import CSV
from portfolio.files.readers import InputFile

REJECTED = ("file", "row", "line", "pointer", "error", "record")
COPIED = 1 << 20  # bytes at a time


class Output(ABC):
    """A file that is being written: a head, the bytes of parts, and an end. It goes on with what an earlier run left of it."""

    def __init__(self, path: Path, form: OutputFormat, head: bytes) -> None:
        self.path = path
        self.form = form
        self.size = len(head)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")
        if self._file.read(len(head)) != head:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(head)

    def has(self, size: int, checksum: int) -> bool:
        """Return whether the bytes of a part, of this size and with this CRC-32, are already what comes next."""
        self._file.seek(self.size)
        found = 0
        for begin in range(0, size, COPIED):
            found = zlib.crc32(self._file.read(min(COPIED, size - begin)), found)
        return found == checksum and self._file.tell() == self.size + size

    def copy(self, part: Path) -> None:
        """Give the kernel the bytes of a part, where they come next: then the part is needed no more, whoever is killed."""
        self._file.seek(self.size)
        with part.open("rb") as source:
            shutil.copyfileobj(source, self._file, COPIED)
        self._file.flush()

    def add(self, size: int, rows: int, groups: bytes) -> None:
        """Count the bytes of a part, which are in the file, and its rows; ``groups`` are its row groups of Parquet."""
        del rows, groups
        self.size += size

    @abstractmethod
    def close(self, name: str, facts: Mapping[str, str]) -> None:
        """Complete the file durably. ``name`` is its future name; ``facts`` go into its metadata."""

    def release(self) -> None:
        """Close the file as it is, if it is open: another run may go on with it."""
        self._file.close()

    def _end(self, end: bytes = b"") -> None:
        self._file.seek(self.size)
        self._file.write(end)
        self._file.truncate()
        _sync(self._file)


class CsvOutput(Output):
    """CSV. Its facts are in ``NAME-metadata.json``, as the W3C's "CSV on the Web" says."""

    def __init__(self, path: Path, form: OutputFormat) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(form.schema.names)
        super().__init__(path, form, text.getvalue().encode())

    def close(self, name: str, facts: Mapping[str, str]) -> None:
        """See :meth:`Output.close`."""
        self._end()
        about = {"@context": "http://www.w3.org/ns/csvw", "url": name, "notes": [dict(facts)]}
        with metadata_path(self.path).open("w", encoding="utf-8") as file:
            json.dump(about, file, indent=1)
            file.write("\n")
            _sync(file)


class ParquetOutput(Output):
    """Parquet: the row groups of the parts as they were encoded, and the facts in the schema's metadata."""

    def __init__(self, path: Path, form: OutputFormat) -> None:
        super().__init__(path, form, parquet_footer.MAGIC)
        self._groups: list[bytes] = []
        self._rows = 0

    def add(self, size: int, rows: int, groups: bytes) -> None:
        """See :meth:`Output.add`."""
        self._groups += parquet_footer.moved(groups, self.size, len(self._groups))
        self._rows += rows
        super().add(size, rows, groups)

    def close(self, name: str, facts: Mapping[str, str]) -> None:
        """See :meth:`Output.close`."""
        del name
        seen = self.form.schema
        known = {key: value for key, value in (seen.metadata or {}).items() if key != b"ARROW:schema"}
        known |= {key.encode(): value.encode() for key, value in facts.items()}
        arrow = seen.with_metadata(known).serialize()  # readers see strings, not the dictionaries of the parts
        empty = self.form.parquet(None, {**known, b"ARROW:schema": base64.b64encode(arrow.to_pybytes())})
        self._end(parquet_footer.footer(empty, self._groups, self._rows))


def metadata_path(path: Path) -> Path:
    """Return the path of the facts about a CSV."""
    return path.with_name(path.name + "-metadata.json")


class Rejects:
    """The file of rejected rows of all inputs. The first rejected row creates it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self._file: Any = None

    def append(self, part: Path, file: str, first: int) -> None:
        """Add the rejected rows of a part whose first row is row ``first`` of its file, counted from 1."""
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
            csv.writer(self._file, lineterminator="\n").writerow(REJECTED)
        writer = csv.writer(self._file, lineterminator="\n")
        for text in part.read_text("utf-8").splitlines():
            position, *rest = json.loads(text)
            writer.writerow([file, first + position, *rest])

    def release(self) -> None:
        """Close the file as it is, if it is open."""
        if self._file is not None:
            self._file.close()

    def close(self) -> bool:
        """Complete the file; returns whether it exists."""
        if self._file is not None:
            _sync(self._file)
        return self._file is not None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def scored_schema(source: InputFile, model: Model) -> pa.Schema:
    """Return the columns of a scored Parquet file. Columns of CSV are text, except the numbers of the model."""
    fields = list(source.schema)
    if source.kind == CSV:
        features = {f.name: f.kind for f in model.schema}
        fields = [f.with_type(pa.float64()) if features.get(f.name) == "number" else f for f in fields]
    types = [t.value_type if pa.types.is_dictionary(t) else t for t in added_types(model)]
    fields += [pa.field(name, kind) for name, kind in zip(answer_names(ADDED, model.schema), types, strict=True)]
    return pa.schema(fields, source.schema.metadata)


def output_format(kind: str, sources: Sequence[InputFile], model: Model) -> OutputFormat:
    """The format of the output of one or more inputs; raises :class:`PortfolioError` if they cannot become one file."""
    schemas = [scored_schema(source, model) for source in sources]
    schema = schemas[0]
    for source, other in zip(sources[1:], schemas[1:], strict=True):
        if other.names != schema.names:
            raise PortfolioError(
                f"{source.location} has other columns than {sources[0].location}: score them into a directory"
            )
    try:
        schema = pa.unify_schemas([s.remove_metadata() for s in schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise PortfolioError(f"{sources[0].location} and others have columns that differ: {_line(error)}") from None
    if kind == CSV:
        if nested := [f.name for f in schema if pa.types.is_nested(f.type)]:
            raise PortfolioError(f"column {nested[0]} of {sources[0].location} cannot be written as CSV: write Parquet")
        (version,) = answer_names(["model_version"], model.schema)
        return OutputFormat(CSV, schema.append(pa.field(version, pa.string())))
    names = answer_names(ADDED, model.schema)
    prediction, probability, *texts = names
    coded = [f.name for f in model.schema if f.kind == "category"] + texts
    few = {*model.schema.names, prediction, *texts} & set(schema.names)
    schema = schema.with_metadata(schemas[0].metadata)
    return OutputFormat(kind, schema, tuple(coded), tuple(sorted(few)), (probability,))


def open_output(path: Path, form: OutputFormat) -> Output:
    """Open an output, or go on with it."""
    return CsvOutput(path, form) if form.kind == CSV else ParquetOutput(path, form)
