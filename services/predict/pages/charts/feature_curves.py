"""Curves and surfaces as drawings: shapes in the units of an SVG, which a template writes.

All curves of a model share one scale of log-odds, marked by what they do to the odds: ×2 is twice those of the average case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from modelbundle.explain.curves import Axis, CategoryCurve, Curves, NumberCurve, Surface, in_order
from modelbundle.schema import Feature, Schema
from services.predict.pages.charts.axis import ticks
from services.predict.pages.formatting import label, number

WIDTH, HEIGHT = 340.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 10.0, 46.0
STRIP = 18.0  # height of the density below the axis' line
ROW = 24.0  # height of a category
NAMES = 122.0  # width of its name
VALUE = 36.0  # width of the text beside a bar
SIDE, GUTTER = 250.0, 64.0  # of a surface
LEVELS = 8  # of colour on each side of 0
FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0)
LEAST_REACH = math.log(1.3)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, and what to say of it."""

    x: float
    y: float
    width: float
    height: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A category: its name, its bar from the middle, what it does to the odds, and the share of the training rows."""

    name: str
    y: float
    bar: Bar
    up: bool
    factor: str
    share: float | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """One feature: ``line`` and ``area`` (paths) and ``density`` of a number, ``rows`` of a category; ``middle`` is where ×1 is.

    ``words`` says it in a sentence, ``missing`` what a missing value does (empty where none may be missing).
    """

    feature: Feature
    height: float
    middle: float
    words: str
    missing: str
    size: float | None
    x_ticks: Sequence[Tick] = ()
    y_ticks: Sequence[Tick] = ()
    line: str = ""
    area: str = ""
    density: Sequence[Bar] = ()
    rows: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Heat:
    """A pair: a path per level of colour from -:data:`LEVELS` to :data:`LEVELS`."""

    first: Feature
    second: Feature
    paths: Sequence[tuple[int, str]]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    words: str


def draw(found: Curves, schema: Schema) -> list[Drawing]:
    """The curves, those that matter most first."""
    by_name = {feature.name: feature for feature in schema}
    reach = max([LEAST_REACH, *(abs(term) for curve in found.curves for term in _terms(curve))]) * 1.06
    drawn = [
        _number(curve, by_name[curve.feature], reach)
        if isinstance(curve, NumberCurve)
        else _category(curve, by_name[curve.feature], reach)
        for curve in found.curves
    ]
    sizes = [_size(curve) for curve in found.curves]
    return [drawn[i] for i in sorted(range(len(drawn)), key=lambda i: -sizes[i])]


def heats(found: Curves, schema: Schema) -> list[Heat]:
    """The surfaces, those that matter most first."""
    by_name = {feature.name: feature for feature in schema}
    reach = max([1e-9, *(float(np.abs(surface.terms).max(initial=0.0)) for surface in found.surfaces)])
    ordered = sorted(found.surfaces, key=lambda surface: -float(np.abs(surface.terms).max(initial=0.0)))
    return [_heat(s, by_name[s.features[0]], by_name[s.features[1]], reach) for s in ordered]


def factor(term: float) -> str:
    """What a term in log-odds does to the odds: ``×1.35``."""
    times = math.exp(min(max(term, -700.0), 700.0))
    return f"×{times:.2f}" if times < 9.995 else f"×{times:,.0f}"


def _terms(curve: NumberCurve | CategoryCurve) -> list[float]:
    drawn = [*curve.starts, *curve.ends] if isinstance(curve, NumberCurve) else list(curve.terms)
    return [*drawn, curve.missing]


def _size(curve: NumberCurve | CategoryCurve) -> float:
    terms = _terms(curve)
    return curve.size if curve.size is not None else max(terms) - min(terms)


def _missing(curve: NumberCurve | CategoryCurve, feature: Feature) -> str:
    return "" if feature.required else factor(curve.missing)


def _number(curve: NumberCurve, feature: Feature, reach: float) -> Drawing:
    low, high = curve.edges[0], curve.edges[-1]
    bottom = HEIGHT - BOTTOM

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(term: float) -> float:
        return TOP + (reach - term) / (2 * reach) * (bottom - TOP)

    points = []
    for (a, b), start, end in zip(pairwise(curve.edges), curve.starts, curve.ends, strict=True):
        points += [f"{x(a):.1f} {y(start):.2f}", f"{x(b):.1f} {y(end):.2f}"]
    line = "M" + "L".join(points)
    middle = y(0.0)
    extremes = [(term, value) for term, value in zip((*curve.starts, curve.ends[-1]), curve.edges, strict=True)]
    (least, at_least), (most, at_most) = min(extremes), max(extremes)
    words = (
        f"{feature.title}: the odds are {factor(least)} of the average at {number(at_least)} and {factor(most)}"
        f" at {number(at_most)}{f' {feature.unit}' if feature.unit else ''}."
    )
    density = []
    if curve.density is not None:
        for height, share, (a, b) in zip(
            curve.density.heights(), curve.density.shares, pairwise(curve.density.edges), strict=True
        ):
            text = f"{number(a)} to {number(b)}: {share:.0%} of the training rows"
            tall = STRIP * height
            density.append(Bar(x(a), HEIGHT - BOTTOM + 3 + STRIP - tall, max(x(b) - x(a) - 0.6, 0.4), tall, text))
    return Drawing(
        feature,
        HEIGHT,
        middle,
        words,
        _missing(curve, feature),
        curve.size,
        x_ticks=[Tick(x(value), number(value)) for value in ticks(low, high, whole=feature.integer)],
        y_ticks=[Tick(y(math.log(f)), _factor_tick(f)) for f in FACTORS if abs(math.log(f)) <= reach],
        line=line,
        area=f"{line}L{WIDTH - RIGHT:.1f} {middle:.2f}L{LEFT:.1f} {middle:.2f}Z",
        density=density,
    )


def _category(curve: CategoryCurve, feature: Feature, reach: float) -> Drawing:
    known = dict(
        zip(curve.names, zip(curve.terms, curve.shares or [None] * len(curve.terms), strict=True), strict=True)
    )
    names = in_order(curve.names)
    if names == list(curve.names) and len(names) > 7:  # no order of their own: the riskiest first
        names.sort(key=lambda name: -known[name][0])
    entries: list[tuple[str, float, float | None]] = [(label(name), *known[name]) for name in names]
    if not feature.required:
        entries.append(("missing", curve.missing, None))
    half = (WIDTH - NAMES - 2 * VALUE) / 2
    middle = NAMES + VALUE + half
    rows = []
    for i, (name, term, share) in enumerate(entries):
        wide = abs(term) / reach * half
        bar = Bar(middle - (wide if term < 0 else 0.0), TOP + i * ROW, max(wide, 0.5), ROW - 9)
        rows.append(Row(name, TOP + i * ROW + 11.5, bar, term >= 0, factor(term), share))
    words = f"{feature.title}: the odds, times the average, are " + ", ".join(
        f"{row.factor} for {row.name}" for row in rows
    )
    return Drawing(
        feature, 2 * TOP + len(rows) * ROW, middle, f"{words}.", _missing(curve, feature), curve.size, rows=rows
    )


def _heat(surface: Surface, first: Feature, second: Feature, reach: float) -> Heat:
    terms = surface.terms
    tall, wide = SIDE / terms.shape[0], SIDE / terms.shape[1]
    levels = np.rint(terms / reach * LEVELS).astype(int)
    paths: dict[int, list[str]] = {}
    for i, row in enumerate(levels[::-1].tolist()):  # the first feature rises upwards
        at = 0
        for level, run in groupby(row):
            length = len(list(run))
            cell = f"M{GUTTER + at * wide:.1f} {TOP + i * tall:.1f}h{length * wide:.1f}v{tall + 0.3:.1f}h{-length * wide:.1f}z"
            paths.setdefault(level, []).append(cell)
            at += length
    at_row, at_column = divmod(int(np.abs(terms).argmax()), terms.shape[1])
    most = factor(float(terms[at_row, at_column]))
    words = (
        f"{first.title} with {second.title}: most of all {most}, where {first.title} is {_place(surface.rows, at_row)}"
        f" and {second.title} is {_place(surface.columns, at_column)}."
    )
    return Heat(
        first,
        second,
        [(level, "".join(cells)) for level, cells in sorted(paths.items()) if level],
        x_ticks=_side(surface.columns, GUTTER, wide),
        y_ticks=[Tick(2 * TOP + SIDE - tick.at, tick.text) for tick in _side(surface.rows, TOP, tall)],
        words=words,
    )


def _side(axis: Axis, start: float, step: float) -> list[Tick]:
    """Ticks of a surface's side: every name, or five edges, evenly far apart since every step is as wide as the next."""
    if axis.names:
        return [Tick(start + (k + 0.5) * step, label(name)) for k, name in enumerate(axis.names)]
    steps = len(axis.edges) - 1
    places = sorted({round(k * steps / 4) for k in range(5)})
    return [Tick(start + k * step, number(axis.edges[k])) for k in places]


def _place(axis: Axis, k: int) -> str:
    if axis.names:
        return label(axis.names[k])
    return f"from {number(axis.edges[k])} to {number(axis.edges[k + 1])}"


def _factor_tick(times: float) -> str:
    return f"×{times:.3g}"
