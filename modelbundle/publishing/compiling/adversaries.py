"""Adversarial rows, which are likely to show a difference between a pipeline and a scorer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelbundle.schema import LARGEST, Feature, Schema
from modelbundle.scorers.base import Column, Scorer, Value

SEED = 0
MOST_THRESHOLDS = 1_200  # per feature
MOST_CELLS = 4_000_000  # of adversarial rows, so that thousands of features fit into memory and time
WIDE = 200  # features, beyond which values that a pipeline may refuse are not tried
MIXED_ROWS = 2_000  # rows in which every value is adversarial
EXTREMES = (0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1e-300, 1.0, -1.0, 1e15, -1e15, 1e30, -1e30)
ABSURD = (3.4e38, -3.4e38, 1e100, 1e308, -1e308, LARGEST, -LARGEST)
UNSEEN = ("", " ", "(unseen)", "nan", "None", "UNSEEN", "1", "0.0")


@dataclass(frozen=True)
class Adversaries:
    """Adversarial rows as columns, the number of thresholds, and the number of those that were tried."""

    columns: list[Column]
    thresholds: int
    thresholds_tried: int


def adversaries(
    scorer: Scorer, background: Sequence[Column], schema: Schema, accepts: Callable[[Sequence[Column]], bool]
) -> Adversaries:
    """Adversarial rows for a pipeline and its scorer; ``background`` are the training columns.

    In most rows, one feature of a training row is set to a value on, just below or just above a threshold, or to a missing,
    unseen or extreme value; in a wide schema, several features of a row are. In the mixed rows, every feature has such a value.
    A row has at most one extreme value: the difference of two huge terms depends on the order of additions, so it would prove
    nothing.

    Where a feature has too many thresholds, the seed :data:`SEED` draws a sample. Extremes that the pipeline refuses are
    left out.
    """
    rng = random.Random(SEED)
    values: list[list[Value]] = []
    extremes: list[list[float]] = []
    total = tried = 0
    most = max(1, MOST_CELLS // len(schema) ** 2)  # extreme values per feature
    absurd = len(schema) <= WIDE  # beyond, trying each value of each feature takes too long
    for i, feature in enumerate(schema):
        if feature.kind == "category":
            values.append(_labels(scorer, i, feature))
            extremes.append([])
        else:
            cuts = scorer.cuts(i)
            chosen = cuts if len(cuts) <= MOST_THRESHOLDS else sorted(rng.sample(cuts, MOST_THRESHOLDS))
            total, tried = total + len(cuts), tried + len(chosen)
            values.append([*_numbers(feature, chosen)])
            extreme = _accepted(background, i, accepts) if absurd else [*EXTREMES]
            extremes.append(extreme if len(extreme) <= most else rng.sample(extreme, most))
        if not feature.required:
            values[-1].append(None)
    return Adversaries(_rows(background, schema, values, extremes, rng), total, tried)


def _labels(scorer: Scorer, i: int, feature: Feature) -> list[Value]:
    known = sorted({*feature.categories, *scorer.labels(i)})
    if feature.closed:
        return [*known]
    return [*known, *(label.upper() for label in known), *(f"{label} " for label in known), *UNSEEN]


def _numbers(feature: Feature, cuts: list[float]) -> list[float]:
    on = [*cuts, *(feature.observed or ())]
    return [v for c in on for v in (float(np.nextafter(c, -LARGEST)), c, float(np.nextafter(c, LARGEST)))]


def _accepted(background: Sequence[Column], i: int, accepts: Callable[[Sequence[Column]], bool]) -> list[float]:
    """The extreme values of a number that the pipeline accepts."""
    found: list[float] = []

    def accepted(values: Sequence[float]) -> bool:
        rows: list[Any] = [
            np.repeat(c[:1], len(values)) if isinstance(c, np.ndarray) else c[:1] * len(values) for c in background
        ]
        rows[i] = np.array(values)
        return accepts(rows)

    for values in (EXTREMES, ABSURD):
        found += values if accepted(values) else [value for value in values if accepted((value,))]
    return found


def _rows(
    background: Sequence[Column],
    schema: Schema,
    values: list[list[Value]],
    extremes: list[list[float]],
    rng: random.Random,
) -> list[Column]:
    count = max(sum(map(len, values)), 1)
    together = min(len(schema), 1 + count * len(schema) // MOST_CELLS)  # features with an odd value in one row
    groups = [range(first, min(first + together, len(schema))) for first in range(0, len(schema), together)]
    lengths = [max(len(values[i]) for i in group) for group in groups]
    alone = sum(map(len, extremes))
    training = [rng.randrange(len(background[0])) for _ in range(sum(lengths) + alone)]
    columns: list[list[Any]] = [[column[row] for row in training] for column in background]
    at = 0
    for group, length in zip(groups, lengths, strict=True):
        for i in group:
            columns[i][at : at + len(values[i])] = values[i]
        at += length
    for i, extreme in enumerate(extremes):
        columns[i][at : at + len(extreme)] = extreme
        at += len(extreme)
    for _ in range(min(MIXED_ROWS, MOST_CELLS // len(schema))):
        for column, odd in zip(columns, values, strict=True):
            column.append(rng.choice(odd))
    return [
        np.array([np.nan if v is None else v for v in column], dtype=np.float64) if f.kind == "number" else column
        for column, f in zip(columns, schema, strict=True)
    ]
