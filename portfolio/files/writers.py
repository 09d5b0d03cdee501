"""Writes the outputs from finished parts. Each file has a temporary name until all files are complete."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelbundle.model import Model
from modelbundle.validation.csv_cells import answer_names
from portfolio.errors import PortfolioError
from portfolio.files.added_columns import ADDED, added_types
from portfolio.files.locations import CSV
from portfolio.files.readers import InputFile, is_text

REJECTED = ("file", "row", "line", "pointer", "error", "record")


class Output(ABC):
    """A file that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def append(self, part: Path) -> None:
        """Add the rows of a finished part."""

    @abstractmethod
    def close(self, name: str, facts: Mapping[str, str]) -> None:
        """Complete the file durably. ``name`` is its future name; ``facts`` go into its metadata."""


class CsvOutput(Output):
    """CSV. Its facts are in ``NAME-metadata.json``, as the W3C's "CSV on the Web" says."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        super().__init__(path)
        self._file = path.open("wb")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(names)
        self._file.write(text.getvalue().encode())

    def append(self, part: Path) -> None:
        """See :meth:`Output.append`."""
        with part.open("rb") as source:
            shutil.copyfileobj(source, self._file, 1 << 20)

    def close(self, name: str, facts: Mapping[str, str]) -> None:
        """See :meth:`Output.close`."""
        _sync(self._file)
        about = {"@context": "http://www.w3.org/ns/csvw", "url": name, "notes": [dict(facts)]}
        with metadata_path(self.path).open("w", encoding="utf-8") as file:
            json.dump(about, file, indent=1)
            file.write("\n")
            _sync(file)


class ParquetOutput(Output):
    """Parquet, with a row group per part and the facts in the schema's metadata.

    The columns ``coded`` arrive as dictionaries; the columns ``few``, with few distinct values, are stored as dictionaries.
    """

    def __init__(self, path: Path, schema: pa.Schema, coded: Sequence[str], few: Sequence[str]) -> None:
        super().__init__(path)
        fields = [
            f.with_type(pa.dictionary(pa.int32(), pa.string())) if f.name in coded and is_text(f.type) else f
            for f in schema
        ]
        self._schema = pa.schema(fields)
        self._seen = schema
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            use_dictionary=list(few),
            store_schema=False,
        )

    def append(self, part: Path) -> None:
        """See :meth:`Output.append`."""
        with pa.memory_map(str(part)) as file, pa.ipc.open_file(file) as parts:
            for i in range(parts.num_record_batches):
                table = pa.Table.from_batches([parts.get_batch(i)])
                if len(table):
                    self._writer.write_table(table.cast(self._schema), row_group_size=len(table))

    def close(self, name: str, facts: Mapping[str, str]) -> None:
        """See :meth:`Output.close`."""
        del name
        known = {key: value for key, value in (self._seen.metadata or {}).items() if key != b"ARROW:schema"}
        seen = self._seen.with_metadata({**known, **facts})  # readers see strings, not the dictionaries of the parts
        arrow = base64.b64encode(seen.serialize().to_pybytes())
        self._writer.add_key_value_metadata({**known, **facts, b"ARROW:schema": arrow})
        self._writer.close()
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())


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


def open_output(path: Path, kind: str, sources: Sequence[InputFile], model: Model) -> Output:
    """Open the output of one or more inputs; raises :class:`PortfolioError` if they cannot become one file of that kind."""
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
    schema = schema.with_metadata(schemas[0].metadata)
    if kind == CSV:
        if nested := [f.name for f in schema if pa.types.is_nested(f.type)]:
            raise PortfolioError(f"column {nested[0]} of {sources[0].location} cannot be written as CSV: write Parquet")
        return CsvOutput(path, [*schema.names, *answer_names(["model_version"], model.schema)])
    names = answer_names(ADDED, model.schema)
    coded = [f.name for f in model.schema if f.kind == "category"] + list(names)
    few = {*model.schema.names, *names} & set(schema.names) - {names[ADDED.index("probability")]}
    return ParquetOutput(path, schema, coded, sorted(few))
