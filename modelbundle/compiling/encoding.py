"""What a fitted preprocessing step makes of each raw column, as far as it is a function of that column alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NotCompilable(Exception):
    """A scorer kind that cannot be made of this pipeline, and why, in a sentence."""

    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Raw:
    """The column as it is, missing values included."""

    column: str


@dataclass(frozen=True, slots=True)
class Codes:
    """A category as a number: ``categories[k]`` becomes ``float(k)``."""

    column: str
    categories: tuple[str, ...]
    unknown: float
    missing: float


Encoded = Raw | Codes


def encoded_columns(step: Any, names: Sequence[str]) -> list[Encoded]:
    """The output columns of a fitted ColumnTransformer or encoder on a frame with columns ``names``, in order.

    Raises :class:`NotCompilable` for steps that are not understood.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    identity = isinstance(step, FunctionTransformer) and step.func is None  # what "passthrough" becomes when fitted
    if step is None or identity or (isinstance(step, str) and step == "passthrough"):
        return [Raw(name) for name in names]
    if isinstance(step, Pipeline):
        if len(step.steps) != 1:
            raise NotCompilable("additive", "a chain of encoders is not understood")
        return encoded_columns(step.steps[0][1], names)
    if isinstance(step, ColumnTransformer):
        found: list[Encoded] = []
        for name, inner, columns in step.transformers_:
            chosen = [columns] if isinstance(columns, str) else list(columns)
            if not all(isinstance(column, str) for column in chosen):
                raise NotCompilable("additive", f"the columns of {name} are not chosen by name")
            if not (isinstance(inner, str) and inner == "drop"):
                found += encoded_columns(inner, chosen)
        return found
    return _codes(step, names)


def _codes(step: Any, names: Sequence[str]) -> list[Encoded]:
    from sklearn.preprocessing import OrdinalEncoder

    if not isinstance(step, OrdinalEncoder):
        raise NotCompilable("additive", f"{type(step).__name__} is not understood")
    if getattr(step, "_infrequent_enabled", False):
        raise NotCompilable("additive", "an OrdinalEncoder that merges rare categories is not understood")
    if step.handle_unknown != "use_encoded_value":
        raise NotCompilable("additive", "an OrdinalEncoder must encode unknown values (handle_unknown)")
    found: list[Encoded] = []
    for name, categories in zip(names, step.categories_, strict=True):
        present = [c for c in categories if isinstance(c, str)]
        rest = [c for c in categories if not isinstance(c, str)]
        if len(rest) > 1 or any(not (c is None or (isinstance(c, float) and math.isnan(c))) for c in rest):
            raise NotCompilable("additive", f"the categories of {name} are not strings")
        missing = float(step.encoded_missing_value) if rest else float(step.unknown_value)
        found.append(Codes(name, tuple(present), float(step.unknown_value), missing))
    return found
