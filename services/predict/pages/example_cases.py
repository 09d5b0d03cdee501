"""Cases to begin with, made from what a bundle says of its training rows; none of them is anybody's.

The *typical* case has the median of every number and the commonest category. The other two move the features that matter, as
far as is still common, to where the model finds the last class least, or most, likely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from modelbundle.explain.curves import what_if
from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.scorers.base import Value, columns_of
from services.predict.pages.bundle_documents import BundleDocuments
from services.predict.pages.formatting import logit

MATTERS = 0.25  # of what the strongest feature moves, in log-odds: what moves less stays typical, which a person finds plausible
COMMON = 0.08  # the share of training rows from which on a category is common
TAIL = 0.19  # of the rows, on either side, that are not common for a number: the second decile is
QUARTERS = (0.5, 0.25, 0.75)


@dataclass(frozen=True, slots=True)
class Example:
    """A case: its values in the schema's order, and the probability of the last class."""

    name: str
    row: tuple[Value, ...]
    probability: float


class Examples:
    """The examples of the current model, made once per model."""

    def __init__(self, documents: BundleDocuments) -> None:
        self._documents = documents
        self._made: tuple[str, tuple[Example, ...]] = ("", ())

    def of(self, model: Model) -> tuple[Example, ...]:
        """The examples of ``model``."""
        version, made = self._made
        if version != model.version:
            made = make(model, self._documents.of(model).reference)
            self._made = (model.version, made)
        return made


def make(model: Model, reference: Mapping[str, Any]) -> tuple[Example, ...]:
    """The typical case, and one of low and of high probability; only the first where the model tells no cases apart."""
    described = reference.get("features", {})
    usual = [_common(model, i, feature, described.get(feature.name, {})) for i, feature in enumerate(model.schema)]
    typical = [values[0] for values in usual]
    scores = [
        [logit(p) if p == p else 0.0 for p in what_if(model, typical, feature.name, values)]
        for feature, values in zip(model.schema, usual, strict=True)
    ]
    low, high = (_moved(typical, usual, scores, sign) for sign in (-1, 1))
    found = [_example(model, *case) for case in (("typical", typical), ("low", low), ("high", high))]
    return tuple(found) if found[1].probability < found[2].probability else tuple(found[:1])


def _moved(typical: list[Value], usual: list[list[Value]], scores: list[list[float]], sign: int) -> list[Value]:
    """The typical row with what moves its score up (``sign`` 1) or down (-1)."""
    moves = [[sign * (score - own[0]) for score in own] for own in scores]
    material = MATTERS * max(max(own) for own in moves)
    best = [max(range(len(own)), key=own.__getitem__) for own in moves]
    return [
        values[k] if own[k] >= material else value
        for value, values, own, k in zip(typical, usual, moves, best, strict=True)
    ]


def _example(model: Model, name: str, row: list[Value]) -> Example:
    return Example(name, tuple(row), float(model.last_class(columns_of(row, model.schema))[0]))


def _common(model: Model, i: int, feature: Feature, described: Mapping[str, Any]) -> list[Value]:
    """Values that many training rows have, the most typical first; of the golden rows where nothing is known."""
    if feature.kind == "category":
        return _categories(feature, described.get("categories", {})) or [_golden(model, i)]
    if (numbers := _quantiles(described)) or (numbers := _between(feature)):
        return list(dict.fromkeys(_rounded(feature, number) for number in numbers))
    return [_golden(model, i)]


def _categories(feature: Feature, counts: Mapping[str, int]) -> list[Value]:
    total = sum(counts.values())
    if not total:
        return [*feature.categories[:1]]
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return [name for name in ranked if name == ranked[0] or counts[name] >= COMMON * total]


def _quantiles(described: Mapping[str, Any]) -> list[float]:
    """The median first, then the edges of the bins that are not in a tail."""
    edges, counts = described.get("edges", []), described.get("counts", [])
    total = sum(counts)
    if not edges or not total:
        return []
    below = [count / total for count in accumulate(counts)][:-1]
    median = next((edge for edge, share in zip(edges, below, strict=True) if share >= 0.499), edges[-1])
    return [median, *(e for e, share in zip(edges, below, strict=True) if TAIL <= share <= 1 - TAIL)]


def _between(feature: Feature) -> list[float]:
    if feature.observed is None:
        return []
    low, high = feature.observed
    return [low + (high - low) * quarter for quarter in QUARTERS]


def _rounded(feature: Feature, number: float) -> float:
    """Two significant digits, as a person would say it, unless that is impossible."""
    value = float(f"{number:.2g}")
    if feature.integer:
        value = float(round(value))
    low = feature.minimum if feature.minimum is not None else value
    high = feature.maximum if feature.maximum is not None else value
    return value if low <= value <= high else number


def _golden(model: Model, i: int) -> Value:
    values = [row[i] for row in model.manifest.golden.rows]
    return next((value for value in values if value is not None), None)
