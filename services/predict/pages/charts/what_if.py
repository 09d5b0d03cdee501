"""What would be if one feature were another: this case's probability over all its values, and where training rows lie.

Places are percentages of the chart's width, and pixels of its height.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from modelbundle.explain.curves import CategoryCurve, NumberCurve, in_order, steps, what_if
from modelbundle.explain.distribution import density, shares
from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.scorers.base import Row, Value
from services.predict.pages import form, formatting
from services.predict.pages.bundle_documents import Documents
from services.predict.pages.charts import axis

HEIGHT = 190  # pixels of the plot, without its axis
HILL = 0.34  # of the height, for the densest values
MOST = 14  # categories that are drawn; the commonest ones, and this case's


@dataclass(frozen=True, slots=True)
class WhatIfCurve:
    """A number: the probability along its values. ``data`` is the same for the page's script."""

    feature: Feature
    line: str
    hill: str
    mark: tuple[float, float] | None
    beyond: bool
    value: str
    percent: str
    missing: str
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    data: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One category: its probability, how long its bar is, and which part of the training rows had it."""

    value: str
    label: str
    percent: str
    width: float
    share: str
    current: bool


@dataclass(frozen=True, slots=True)
class Choices:
    """A category: the probability with each of its values."""

    feature: Feature
    choices: tuple[Choice, ...]
    left_out: int


def curve(model: Model, documents: Documents, row: Row, name: str) -> WhatIfCurve | Choices | None:
    """What the feature ``name`` does to ``row``; None for a number of which nothing is known."""
    i = model.schema.index[name]
    feature = model.schema.features[i]
    described = documents.reference.get("features", {}).get(name, {})
    if feature.kind == "category":
        return _choices(model, row, feature, row[i], described)
    own = documents.curves.curves[i] if documents.curves.curves else None
    if own is None and feature.observed is None:
        return None
    return _curve(model, documents, row, feature, own, described)


def _curve(
    model: Model,
    documents: Documents,
    row: Row,
    feature: Feature,
    own: NumberCurve | CategoryCurve | None,
    described: dict[str, Any],
) -> WhatIfCurve:
    values: list[Value] = steps(feature, own, documents.reference)
    value = row[model.schema.index[feature.name]]
    here, *chances = what_if(model, row, feature.name, [value, *values])
    nothing = math.nan if feature.required else what_if(model, row, feature.name, [None])[0]
    low, high = float(values[0] or 0.0), float(values[-1] or 0.0)
    scored = [(v, p) for v, p in zip(values, chances, strict=True) if p == p]
    values, chances = [v for v, _ in scored], [p for _, p in scored]
    top = axis.top(max([*chances, here]))

    def across(v: float) -> float:
        return round(100 * (min(max(v, low), high) - low) / (high - low), 3)

    def up(p: float) -> float:
        return round(HEIGHT * (1 - p / top), 2)

    numbers = [float(v or 0.0) for v in values]
    spread = density(feature, described, (low, high)) if described else None
    hill = ""
    if spread is not None:
        hill = f"M0 {HEIGHT}"
        for height, a, b in zip(spread.heights(), spread.edges, spread.edges[1:], strict=False):
            hill += f"V{up(top * HILL * height)}H{10 * across(b):.1f}" if a < b else ""
        hill += f"V{HEIGHT}Z"
    at = float(value) if isinstance(value, float) else None
    return WhatIfCurve(
        feature=feature,
        line="M" + "L".join(f"{10 * across(v):.1f} {up(p)}" for v, p in zip(numbers, chances, strict=True)),
        hill=hill,
        mark=None if at is None else (across(at), up(here)),
        beyond=at is not None and not low <= at <= high,
        value=form.shown(value),
        percent=formatting.percent(here),
        missing=formatting.percent(nothing) if nothing == nothing else "",
        across=tuple((across(t), formatting.number(t)) for t in axis.ticks(low, high)),
        up=tuple((up(t), formatting.short_percent(t)) for t in axis.ticks(0, top, 4)),
        data=json.dumps(
            {
                "values": [float(f"{v:.7g}") for v in numbers],
                "heights": [up(p) for p in chances],
                "percents": [formatting.percent(p) for p in chances],
            },
            separators=(",", ":"),
        ),
    )


def _choices(model: Model, row: Row, feature: Feature, value: Value, described: dict[str, Any]) -> Choices | None:
    names = in_order(feature.categories)
    if isinstance(value, str) and value not in names:
        names.append(value)
    if not names:
        return None
    counted = shares(described, names) if described else None
    part = dict(zip(names, counted, strict=True)) if counted else {}
    kept = sorted(names, key=lambda name: (name != value, -part.get(name, 0.0)))[:MOST]
    drawn: list[Value] = [name for name in names if name in kept]
    if not feature.required:
        drawn.append(None)
    scored = [(v, p) for v, p in zip(drawn, what_if(model, row, feature.name, drawn), strict=True) if p == p]
    drawn, chances = [v for v, _ in scored], [p for _, p in scored]
    most = max(chances) or 1.0
    return Choices(
        feature,
        tuple(
            Choice(
                "" if one is None else str(one),
                form.shown(one),
                formatting.percent(chance),
                round(100 * chance / most, 2),
                formatting.short_percent(float(f"{part[str(one)]:.2g}")) if str(one) in part else "",
                one == value,
            )
            for one, chance in zip(drawn, chances, strict=True)
        ),
        len(names) - len(kept),
    )
