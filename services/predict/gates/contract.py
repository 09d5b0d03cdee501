"""The contract gate: whether a candidate accepts what the current model accepts, and reads it alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modelbundle.format.outcome import encoded
from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.scorers.base import Column
from modelbundle.validation.column_validator import unseen
from services.predict.gates.replay import Fit

FEW = 100  # rows, below which shares of rows decide nothing
MOST_OUTSIDE = 0.5  # of the rows may be outside the range that the candidate saw in training
NAMED = 3  # differences that a sentence names


def differences(current: Model, candidate: Model) -> list[str]:
    """What requests the current model answers and the candidate refuses or reads otherwise, by schema and classes alone."""
    found = [said for name in _names(current, candidate) if (said := _feature(name, current, candidate))]
    if current.classes != candidate.classes:
        order = (
            "the classes are in another order" if set(current.classes) == set(candidate.classes) else "other classes"
        )
        found.append(f"{order}: {_listed(candidate.classes)}, before {_listed(current.classes)}")
    old, new = current.manifest.outcome, candidate.manifest.outcome
    if old.name != new.name:
        found.append(f"the outcome is `{new.name}`, before `{old.name}`, so callers who report that are refused")
    elif {encoded(value) for value in old.values} - {encoded(value) for value in new.values}:
        found.append(f"the outcome `{new.name}` has other values: {_listed(new.values)}, before {_listed(old.values)}")
    return found


def _names(current: Model, candidate: Model) -> list[str]:
    return [*current.schema.names, *(name for name in candidate.schema.names if name not in current.schema.index)]


def _feature(name: str, current: Model, candidate: Model) -> str | None:
    old, new = _find(current, name), _find(candidate, name)
    if new is None:
        return f"`{name}` is not a feature any more, so requests with it are refused"
    if old is None:
        if name == "id":
            return "`id` becomes a feature; before, it was the caller's own reference"
        return f"`{name}` is a new required feature" if new.required else None
    if old.kind != new.kind:
        return f"`{name}` becomes a {new.kind}, before a {old.kind}"
    if new.required and not old.required:
        return f"`{name}` becomes required"
    if new.closed and not old.closed:
        return f"`{name}` becomes closed: categories that training has not seen are refused"
    low, high = _bounds(old), _bounds(new)
    if high[0] > low[0] or high[1] < low[1]:
        return f"`{name}` has narrower bounds: {_range(*high)}, before {_range(*low)}"
    return None


def _find(model: Model, name: str) -> Feature | None:
    place = model.schema.index.get(name)
    return None if place is None else model.schema.features[place]


def _bounds(feature: Feature) -> tuple[float, float]:
    low, high = feature.minimum, feature.maximum
    return -math.inf if low is None else low, math.inf if high is None else high


def _range(low: float, high: float) -> str:
    if math.isinf(low):
        return "any number" if math.isinf(high) else f"at most {high:g}"
    return f"at least {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"


def _listed(classes: Sequence[object]) -> str:
    return ", ".join(map(str, classes[:5])) + (", …" if len(classes) > 5 else "")


def other_ranges(current: Model, candidate: Model) -> list[str]:
    """The numbers that the two models saw in training in ranges without a common value: without rows, all that tells of units."""
    found = []
    for new in candidate.schema:
        old = _find(current, new.name)
        if old is None or not (old.observed and new.observed):
            continue
        if old.observed[0] > new.observed[1] or old.observed[1] < new.observed[0]:
            found.append(
                f"`{new.name}` was {_range(*new.observed)} in training, before {_range(*old.observed)}: is it in another unit?"
            )
    return found


def outside(current: Model, candidate: Model, columns: Sequence[Column]) -> list[str]:
    """The features of n rows whose values the current model mostly saw in training, and the candidate mostly did not.

    ``columns`` are of the candidate's schema. Fractions where the candidate learnt percentages are the usual reason; categories
    with another spelling are another.
    """
    found: list[str] = []
    rows = len(columns[0]) if columns else 0
    if rows < FEW:
        return found
    for new, column in zip(candidate.schema, columns, strict=True):
        old = _find(current, new.name)
        if old is None or old.kind != new.kind:
            continue
        strange, before = unseen(new, column), unseen(old, column)
        if strange is None:
            continue
        count = int((strange if before is None else strange & ~before).sum())
        if count > MOST_OUTSIDE * rows:
            said = f"{_range(*new.observed)}" if new.observed else "other categories"
            found.append(
                f"`{new.name}` was {said} in training, and {share(count, rows)} are not: is it in another unit?"
            )
    return found


def refused(fits: Fit) -> str:
    """How many of the rows that the current model accepts would be refused, and for which features first."""
    rows = len(fits.rows)
    why = listed([f"`{name}` {rule} ({number:,})" for (name, rule), number in fits.problems.most_common()])
    return f"{share(rows - int(fits.rows.sum()), rows)} would be refused" + (f": {why}" if why else "")


def share(count: int, rows: int) -> str:
    """ "12 of the last 5,000 rows (0.24 %)"."""
    percent = np.format_float_positional(100 * count / rows, precision=2, fractional=False, trim="-") if rows else "0"
    return f"{count:,} of the last {rows:,} rows ({percent} %)"


def listed(sentences: Sequence[str]) -> str:
    """The first few, and that there are more."""
    more = [f"and {len(sentences) - NAMED} more"] if len(sentences) > NAMED else []
    return "; ".join([*sentences[:NAMED], *more])
