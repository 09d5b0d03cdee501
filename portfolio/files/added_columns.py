"""The columns that scoring adds to a book: their names, and their types for a model."""

from __future__ import annotations

import pyarrow as pa

from modelbundle.model import Model
from modelbundle.schema import Schema
from modelbundle.validation.csv_cells import answer_names
from portfolio.files.locations import CSV

PREDICTION = "prediction"
ADDED = (PREDICTION, "probability", "band", "reasons", "warnings")


def added(output: str, schema: Schema) -> tuple[str, ...]:
    """Return the columns that an output of this kind adds to the input. Parquet has the model version in its metadata."""
    return answer_names((*ADDED, "model_version") if output == CSV else ADDED, schema)


def added_types(model: Model) -> list[pa.DataType]:
    """Return the types of the columns :data:`ADDED`."""
    text = pa.dictionary(pa.int32(), pa.string())
    label = pa.array(list(model.classes)).type
    return [label, pa.float64(), text, text, text]
