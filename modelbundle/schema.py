"""The schema of a model: one :class:`Feature` per input column, in the order of the training frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from modelbundle.errors import FormatError, PublishError
from modelbundle.publishing.annotations import FeatureWords

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "category"]
LARGEST = 1.7976931348623157e308  # the largest finite float64
RARE = 20  # a category with fewer training rows is never named, because it could identify a person


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column.

    ``minimum`` and ``maximum``, in ``unit``: the author's bounds, beyond which a value is invalid. ``observed``: the smallest
    and largest value in training. ``categories``: those with at least :data:`RARE` training rows, sorted. ``required``: never
    missing in training. ``integer``: all training values are whole numbers.
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

    def to_json(self) -> dict[str, Any]:
        """The feature as a JSON object without its empty fields."""
        entry: dict[str, Any] = {"name": self.name, "kind": self.kind, "required": self.required}
        for key in ("title", "description", "unit", "minimum", "maximum"):
            if (value := getattr(self, key)) not in (None, ""):
                entry[key] = value
        if self.kind == "category":
            entry["categories"] = list(self.categories)
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

        Raises :class:`PublishError` for a column without values, of neither numbers nor strings, with infinite values or with
        values beyond its declared bounds, and for annotations of unknown columns.
        """
        words = words or {}
        if unknown := sorted(set(words) - set(map(str, frame.columns))):
            raise PublishError(f"annotated columns are missing in the frame: {', '.join(unknown)}")
        return cls(tuple(_derive(frame[name], words.get(str(name), FeatureWords())) for name in frame.columns))


def _derive(column: pd.Series, words: FeatureWords) -> Feature:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    name = str(column.name)
    present = column.dropna()
    if len(present) == 0:
        raise PublishError(f"column {name!r} has no values: drop it from the frame")
    known: dict[str, Any] = {
        "name": name,
        "required": len(present) == len(column),
        "title": words.title or name,
        "description": words.description,
        "unit": words.unit,
    }
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        low, high = float(present.min()), float(present.max())
        if not (-float("inf") < low <= high < float("inf")):
            raise PublishError(f"column {name!r} has infinite values: make them missing or drop the rows")
        for bound, broken in ((words.minimum, words.minimum is not None and low < words.minimum),
                              (words.maximum, words.maximum is not None and high > words.maximum)):  # fmt: skip
            if broken:
                raise PublishError(f"column {name!r} has values beyond its declared bound {bound}")
        integer = bool((present.astype(float) % 1 == 0).all())
        return Feature(
            kind="number", minimum=words.minimum, maximum=words.maximum, observed=(low, high), integer=integer, **known
        )
    if not all(isinstance(value, str) for value in present.unique()):
        raise PublishError(
            f"column {name!r} has values that are neither numbers nor strings: convert it before fitting"
        )
    counts = present.astype(str).value_counts()
    return Feature(kind="category", categories=tuple(sorted(map(str, counts[counts >= RARE].index))), **known)


def _feature(entry: object, position: int) -> Feature:
    where = f"schema feature {position}"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise FormatError(where, "must be an object with a name")
    if entry.get("kind") not in ("number", "category") or not isinstance(entry.get("required"), bool):
        raise FormatError(where, "needs a kind (number or category) and required (true or false)")
    for key in ("title", "description", "unit"):
        if not isinstance(entry.get(key, ""), str):
            raise FormatError(where, f"{key} must be a string")
    observed, categories = entry.get("observed"), entry.get("categories", [])
    numbers = [entry.get("minimum"), entry.get("maximum"), *(observed if isinstance(observed, list) else [])]
    for n in numbers:
        if (
            isinstance(n, bool)
            or not isinstance(n, (int, float, type(None)))
            or not (n is None or -LARGEST <= n <= LARGEST)
        ):
            raise FormatError(where, "bounds must be finite numbers")
    if observed is not None and (not isinstance(observed, list) or len(observed) != 2 or None in observed):
        raise FormatError(where, "observed must be [smallest, largest]")
    if not isinstance(categories, list) or not all(isinstance(c, str) for c in categories):
        raise FormatError(where, "categories must be strings")
    return Feature(
        name=entry["name"],
        kind=entry["kind"],
        required=entry["required"],
        title=entry.get("title", "") or entry["name"],
        description=entry.get("description", ""),
        unit=entry.get("unit", ""),
        minimum=entry.get("minimum"),
        maximum=entry.get("maximum"),
        observed=(float(observed[0]), float(observed[1])) if observed else None,
        categories=tuple(categories),
        integer=entry.get("integer", False) is True,
    )
