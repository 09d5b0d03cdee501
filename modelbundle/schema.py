"""The schema of a model: one :class:`Feature` per input column, in the order of the training frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError, PublishError
from modelbundle.format.values import NAME, TITLE, WORDS, distinct, flag, is_number, text
from modelbundle.publishing.annotations import FeatureWords

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "category"]
LARGEST = 1.7976931348623157e308  # the largest finite float64
MAX_TEXT = 256  # characters of a name
MAX_UNKNOWN_TEXT = 65_536  # characters of a text of which nothing is known
RARE = 20  # a category with fewer training rows is never named, because it could identify a person


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column.

    ``minimum`` and ``maximum``, in ``unit``: the author's bounds, beyond which a value is invalid. ``observed``: the smallest
    and largest value in training. ``categories``: those with at least :data:`RARE` training rows, sorted. ``required``: never
    missing in training. ``integer``: all training values are whole numbers. ``closed``: the model cannot score a category that it
    has not seen; ``accepted`` are then those that it has, if a scorer's tables say so. ``longest``: the characters of the longest
    text in training, where they are more than those of a name.
    """

    name: str
    kind: Kind
    required: bool
    title: str = ""
    description: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    observed: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()
    integer: bool = False
    closed: bool = False
    accepted: frozenset[str] | None = field(default=None, repr=False, compare=False)
    longest: int = 0

    @property
    def most_characters(self) -> int:
        """How long a text may be: four times the longest of training, and more where nothing is known of the texts."""
        return max(MAX_TEXT, 4 * self.longest) if self.longest or self.categories else MAX_UNKNOWN_TEXT

    def to_json(self) -> dict[str, Any]:
        """The feature as a JSON object without its empty fields."""
        entry: dict[str, Any] = {"name": self.name, "kind": self.kind, "required": self.required}
        for key in ("title", "description", "unit", "minimum", "maximum"):
            if (value := getattr(self, key)) not in (None, ""):
                entry[key] = value
        if self.kind == "category":
            entry["categories"] = list(self.categories)
            if self.closed:
                entry["closed"] = True
            if self.longest:
                entry["longest"] = self.longest
        elif self.observed:
            entry["observed"] = list(self.observed)
            entry["integer"] = self.integer
        return entry


@dataclass(frozen=True)
class Schema:
    """At least one feature, in order, with unique names; else raises :class:`FormatError`."""

    features: tuple[Feature, ...]
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {f.name: i for i, f in enumerate(self.features)})
        if not self.features or len(self.index) != len(self.features):
            raise FormatError("schema", "needs at least one feature, each with a name of its own")

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The feature names in order."""
        return tuple(f.name for f in self.features)

    def to_json(self) -> dict[str, Any]:
        """The manifest's ``schema`` object."""
        return {"features": [f.to_json() for f in self.features]}

    @classmethod
    def from_json(cls, data: object) -> Schema:
        """The schema of a manifest; raises :class:`FormatError` for malformed JSON."""
        if not isinstance(data, dict) or not isinstance(data.get("features"), list):
            raise FormatError("schema", "must be an object with a list of features")
        return cls(tuple(_feature(entry, i) for i, entry in enumerate(data["features"])))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, words: Mapping[str, FeatureWords] | None = None) -> Schema:
        """The schema of a training frame (n rows, features only), with the author's annotations by column.

        Booleans are the numbers 0 and 1, dates are seconds since 1970 in UTC. Raises :class:`PublishError` for a column without
        a name or values, of other values than these, numbers and strings, with infinite values or with values beyond its declared
        bounds, and for annotations of unknown columns.
        """
        words = words or {}
        if unknown := sorted(set(words) - set(map(str, frame.columns))):
            raise PublishError(f"annotated columns are missing in the frame: {', '.join(unknown)}")
        return cls(tuple(_derive(frame[name], words.get(str(name), FeatureWords())) for name in frame.columns))


def numbers(column: pd.Series) -> NDArray[np.float64] | None:
    """A column as numbers, NaN for missing, shape (n,): booleans 0 and 1, dates seconds since 1970; None for other values."""
    from pandas.api import types

    if types.is_datetime64_any_dtype(column.dtype):
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        stamps = column.to_numpy(dtype="datetime64[us]")
        seconds: NDArray[np.float64] = np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / 1e6)
        return seconds
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "mcOV":
        return None
    if types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if str(column.dtype) == "category" and types.is_numeric_dtype(column.cat.categories.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return None


def _derive(column: pd.Series, words: FeatureWords) -> Feature:
    from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype

    name = str(column.name)
    if not name:
        raise PublishError("a column has no name: give it one before fitting")
    present = column.dropna()
    if len(present) == 0:
        raise PublishError(f"column {name!r} has no values: drop it from the frame")
    stated = "seconds since 1970-01-01 00:00 UTC" if is_datetime64_any_dtype(column.dtype) else ""
    stated = "1 is true, 0 is false" if is_bool_dtype(column.dtype) else stated
    known: dict[str, Any] = {
        "name": name,
        "required": len(present) == len(column),
        "title": words.title or name,
        "description": words.description or stated,
        "unit": words.unit,
    }
    values = numbers(present)
    if values is not None:
        low, high = float(values.min()), float(values.max())
        if not (-float("inf") < low <= high < float("inf")):
            raise PublishError(f"column {name!r} has infinite values: make them missing or drop the rows")
        for bound, broken in ((words.minimum, words.minimum is not None and low < words.minimum),
                              (words.maximum, words.maximum is not None and high > words.maximum)):  # fmt: skip
            if broken:
                raise PublishError(f"column {name!r} has values beyond its declared bound {bound}")
        integer = bool((values % 1 == 0).all())
        return Feature(
            kind="number", minimum=words.minimum, maximum=words.maximum, observed=(low, high), integer=integer, **known
        )
    if not all(isinstance(value, str) for value in present):
        raise PublishError(
            f"column {name!r} has values that are neither numbers nor strings: convert it before fitting"
        )
    counts = Counter(present)
    longest = max(map(len, counts))
    return Feature(
        kind="category",
        categories=tuple(sorted(str(value) for value, count in counts.items() if count >= RARE)),
        longest=longest if longest > MAX_TEXT else 0,
        **known,
    )


def _feature(entry: object, position: int) -> Feature:
    where = f"schema feature {position}"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not 0 < len(entry["name"]) <= NAME:
        raise FormatError(where, f"must be an object with a name of at most {NAME:,} characters")
    if entry.get("kind") not in ("number", "category") or not isinstance(entry.get("required"), bool):
        raise FormatError(where, "needs a kind (number or category) and required (true or false)")
    longest = entry.get("longest", 0)
    if type(longest) is not int or not 0 <= longest <= 1 << 24:
        raise FormatError(where, "longest must be a number of characters")
    minimum, maximum, observed = _bounds(where, entry)
    return Feature(
        name=entry["name"],
        kind=entry["kind"],
        required=entry["required"],
        title=text(where, "title", entry.get("title", ""), NAME) or entry["name"],
        description=text(where, "description", entry.get("description", ""), WORDS),
        unit=text(where, "unit", entry.get("unit", ""), TITLE),
        minimum=minimum,
        maximum=maximum,
        observed=observed,
        categories=_categories(where, entry),
        integer=flag(where, "integer", entry.get("integer", False)),
        closed=flag(where, "closed", entry.get("closed", False)),
        longest=longest,
    )


def _bounds(where: str, entry: Mapping[str, Any]) -> tuple[float | None, float | None, tuple[float, float] | None]:
    """``minimum``, ``maximum`` and ``observed`` of a number; a category has none."""
    low, high, observed = entry.get("minimum"), entry.get("maximum"), entry.get("observed")
    if not all(n is None or is_number(n) for n in (low, high)):
        raise FormatError(where, "bounds must be finite numbers")
    if low is not None and high is not None and low > high:
        raise FormatError(where, "minimum must be at most maximum")
    if entry["kind"] == "category" and (low, high, observed) != (None, None, None):
        raise FormatError(where, "a category has no bounds")
    if observed is None:
        return low, high, None
    if not isinstance(observed, list) or len(observed) != 2 or not all(map(is_number, observed)):
        raise FormatError(where, "observed must be [smallest, largest]")
    if observed[0] > observed[1]:
        raise FormatError(where, "observed must be [smallest, largest]")
    if (low is not None and observed[0] < low) or (high is not None and observed[1] > high):
        raise FormatError(where, "observed must be within the bounds")
    return low, high, (float(observed[0]), float(observed[1]))


def _categories(where: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    categories = entry.get("categories", [])
    if not isinstance(categories, list) or not all(isinstance(c, str) and len(c) <= 1 << 24 for c in categories):
        raise FormatError(where, "categories must be strings")
    if categories and entry["kind"] == "number":
        raise FormatError(where, "a number has no categories")
    distinct(where, "categories", categories)
    return tuple(categories)
