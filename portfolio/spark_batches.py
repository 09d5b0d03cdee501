"""Runs in Spark's Python processes: scores batches with the function that scores on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.validation.csv_cells import answer_names
from portfolio.files.added_columns import ADDED, added_types
from portfolio.files.csv_columns import RejectedRow, as_json
from portfolio.scoring import score, with_numbers

CORRUPT = "_corrupt"  # Spark's reader puts a line here if it has more or fewer cells than the header
REJECTED = ("_pointer", "_error", "_record")
_model: Model | None = None


@dataclass(frozen=True)
class BatchScorer:
    """The function for ``mapInArrow``. The model is broadcast as bytes and loaded once per process; ``schema`` is the output's.

    A rejected row has only the columns :data:`REJECTED`; they are null in any other row.
    """

    broadcast: Any
    version: str
    allow_pickle: bool
    with_reasons: bool
    text: bool
    schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score batch by batch."""
        model = self._load()
        for batch in batches:
            batch, lines = _apart(batch)
            found, columns, unfit = score(model, batch, text=self.text, with_reasons=self.with_reasons)
            if self.text:
                found = with_numbers(model, found, columns)
            yield self._scored(found)
            if rejected := [*lines, *unfit]:
                yield self._rejected(rejected)

    def _load(self) -> Model:
        global _model
        if _model is None or _model.version != self.version:
            _model = bundle.load(self.broadcast.value, self.version, allow_pickle=self.allow_pickle)
        return _model

    def _scored(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = []
        for field in self.schema:
            if field.name == "model_version":
                arrays.append(pa.array([self.version] * len(batch), field.type))
            elif field.name in REJECTED:
                arrays.append(pa.nulls(len(batch), field.type))
            else:
                arrays.append(batch.column(field.name).cast(field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _rejected(self, rows: list[RejectedRow]) -> pa.RecordBatch:
        facts = {
            "_pointer": [r.pointer for r in rows],
            "_error": [r.error for r in rows],
            "_record": [r.record for r in rows],
        }
        arrays = [pa.array(facts.get(field.name, [None] * len(rows)), field.type) for field in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _apart(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[RejectedRow]]:
    """Separate the rows from the lines that Spark's reader could not parse."""
    if CORRUPT not in batch.schema.names:
        return batch, []
    corrupt = batch.column(CORRUPT)
    lines = corrupt.drop_null().to_pylist()
    batch = batch.filter(corrupt.is_null()).drop_columns([CORRUPT])
    return batch, [RejectedRow(0, "", "has another number of cells than the header", as_json(line)) for line in lines]


def output_schema(model: Model, source: pa.Schema, text: bool) -> pa.Schema:
    """Return the columns of the input, the added ones, the version of the model, and :data:`REJECTED`."""
    numbers = {feature.name for feature in model.schema if feature.kind == "number"} if text else set()
    fields = [f.with_type(pa.float64()) if f.name in numbers else f for f in source if f.name != CORRUPT]
    types = [t.value_type if pa.types.is_dictionary(t) else t for t in added_types(model)]
    fields += [pa.field(name, kind) for name, kind in zip(answer_names(ADDED, model.schema), types, strict=True)]
    fields += [pa.field(name, pa.string()) for name in ("model_version", *REJECTED)]
    return pa.schema([field.with_nullable(True) for field in fields])
