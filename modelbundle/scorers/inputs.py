"""The frame that a pipeline takes: plain columns of numbers and texts, turned back into the types that it was fitted on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle.errors import FormatError
from modelbundle.schema import Schema
from modelbundle.scorers.base import AnyColumn, Column, plain

if TYPE_CHECKING:
    import pandas as pd

NAMED, NUMBERED, ARRAY = "named", "numbered", "array"  # what a pipeline was fitted on
OBJECT, CATEGORY, DATETIME, BOOLEAN = "object", "category", "datetime64", "bool"
NULLABLE = ("boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64")


@dataclass(frozen=True)
class Inputs:
    """How columns become a pipeline's input. ``types`` has the columns that are neither float64 nor text with NaN for missing.

    Such a type has a ``dtype`` of pandas; a ``category`` has its ``values`` and whether they are ``ordered``. ``form`` says that
    the pipeline takes a frame with its names, or with positions as names, or an array.
    """

    schema: Schema
    types: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    form: str = NAMED

    def frame(self, columns: Sequence[AnyColumn]) -> Any:
        """The input for n rows: a DataFrame, or an array of shape (n, features)."""
        import pandas as pd

        series: list[Any] = [
            _typed(column, self.types[feature.name])
            if feature.name in self.types
            else (column if feature.kind == "number" else pd.array(column, dtype="str"))
            for feature, column in zip(self.schema, map(plain, columns), strict=True)
        ]
        if self.form == ARRAY and not self.types and all(feature.kind == "number" for feature in self.schema):
            return np.column_stack(series)
        frame = pd.DataFrame(dict(enumerate(series)))
        if self.form == NAMED:
            frame.columns = pd.Index(self.schema.names)
        return frame.astype(object).to_numpy() if self.form == ARRAY else frame

    def original(self, frame: pd.DataFrame) -> Any:
        """A training frame, with the schema's names, as the pipeline was fitted on it."""
        if self.form == ARRAY:
            return frame.to_numpy()
        return frame if self.form == NAMED else frame.set_axis(range(len(self.schema)), axis=1)

    def of(self, closed: Collection[str]) -> Inputs:
        """The same, where the model cannot score unseen categories of the ``closed`` features."""
        features = (replace(f, closed=True) if f.name in closed else f for f in self.schema)
        return replace(self, schema=Schema(tuple(features))) if closed else self

    def to_json(self) -> dict[str, Any]:
        """The entry ``inputs.json`` of a bundle."""
        return {"form": self.form, "types": {name: dict(entry) for name, entry in self.types.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], schema: Schema) -> Inputs:
        """The inputs of a bundle; raises :class:`FormatError`."""
        types, form = data.get("types"), data.get("form")
        if form not in (NAMED, NUMBERED, ARRAY) or not isinstance(types, dict) or not set(types) <= set(schema.names):
            raise FormatError("inputs.json", "must have a form, and types for features of the schema")
        for name, entry in types.items():
            if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
                raise FormatError("inputs.json", f"{name} must have a dtype")
            if entry["dtype"] == CATEGORY and not isinstance(entry.get("values"), list):
                raise FormatError("inputs.json", f"{name} must have the values of its category")
        return cls(schema, types, form)


def type_of(column: pd.Series) -> dict[str, Any] | None:
    """The type of a training column, if a pipeline may tell it from float64 and from text with NaN."""
    import pandas as pd
    from pandas.api import types

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = [value.item() if hasattr(value, "item") else value for value in dtype.categories]
        return {"dtype": CATEGORY, "values": values, "ordered": bool(dtype.ordered)}
    if types.is_datetime64_any_dtype(dtype):
        return {"dtype": DATETIME}
    if types.is_object_dtype(dtype) and any(value is None for value in column):
        return {"dtype": OBJECT}
    if types.is_bool_dtype(dtype):
        return {"dtype": BOOLEAN if dtype == np.dtype(bool) else str(dtype)}
    if types.is_numeric_dtype(dtype) and not isinstance(dtype, np.dtype):
        return {"dtype": str(dtype)}
    return None


def _typed(column: Column, entry: Mapping[str, Any]) -> Any:
    """A column as the type that the pipeline was fitted on, as far as its values allow."""
    import pandas as pd

    dtype = entry["dtype"]
    if dtype == CATEGORY:
        categories = pd.Index(entry["values"])
        values = pd.Index(column) if isinstance(column, np.ndarray) else pd.Index(column, dtype=object)
        return pd.Categorical.from_codes(categories.get_indexer(values), categories, entry.get("ordered", False))
    if not isinstance(column, np.ndarray):
        text: Any = object if dtype == OBJECT else "str"
        return pd.Series(column, dtype=text)
    missing = np.isnan(column)
    if dtype == DATETIME:
        seconds = np.where(missing, 0.0, np.clip(column, -9e9, 9e9))
        stamps = np.round(seconds * 1e6).astype("datetime64[us]")
        stamps[missing] = np.datetime64("NaT")
        return stamps
    if dtype == BOOLEAN:
        return column.astype(bool) if not missing.any() else column
    if dtype == OBJECT:
        return pd.Series([None if value != value else value for value in column.tolist()]).astype(object)
    try:
        return pd.Series(column).astype(pd.Float64Dtype() if dtype in NULLABLE else "float64").astype(dtype)
    except (TypeError, ValueError, ArithmeticError, ImportError):
        return column  # a fraction among whole numbers: the pipeline takes numbers all the same
