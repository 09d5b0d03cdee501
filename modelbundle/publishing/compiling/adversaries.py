"""Adversarial rows, which are likely to show a difference between a pipeline and a scorer."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle.schema import LARGEST, Feature, Schema
from modelbundle.scorers.base import Scorer, Value

if TYPE_CHECKING:
    import pandas as pd

SEED = 0
MOST_THRESHOLDS = 1_200  # per feature
MIXED_ROWS = 2_000  # rows in which every value is adversarial
EXTREMES = (0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1e-300, 1.0, -1.0, 1e15, -1e15, 1e30, -1e30)
ABSURD = (3.4e38, -3.4e38, 1e100, 1e308, -1e308, LARGEST, -LARGEST)
UNSEEN = ("", " ", "(unseen)", "nan", "None", "UNSEEN", "1", "0.0")


@dataclass(frozen=True)
class Adversaries:
    """Adversarial rows as a frame, the number of thresholds, and the number of those that were tried."""

    rows: pd.DataFrame
    thresholds: int
    thresholds_tried: int


def adversaries(
    scorer: Scorer, frame: pd.DataFrame, schema: Schema, accepts: Callable[[pd.DataFrame], bool]
) -> Adversaries:
    """Adversarial rows for a pipeline and its scorer.

    In most rows, one feature of a training row is set to a value on, just below or just above a threshold, or to a missing,
    unseen or extreme value. In the mixed rows, every feature has such a value, but none an extreme one: the difference of two
    huge terms depends on the order of additions, so it would prove nothing.

    Where a feature has too many thresholds, the seed :data:`SEED` draws a sample. Extremes that the pipeline refuses are
    left out.
    """
    rng = random.Random(SEED)
    values: list[list[Value]] = []
    extremes: list[list[float]] = []
    total = tried = 0
    for i, feature in enumerate(schema):
        if feature.kind == "category":
            values.append(_labels(scorer, i, feature))
            extremes.append([])
        else:
            cuts = _cuts(scorer, i)
            chosen = cuts if len(cuts) <= MOST_THRESHOLDS else sorted(rng.sample(cuts, MOST_THRESHOLDS))
            total, tried = total + len(cuts), tried + len(chosen)
            values.append([*_numbers(feature, chosen)])
            extremes.append(_accepted(frame, feature, accepts))
        if not feature.required:
            values[-1].append(None)
    return Adversaries(_rows(frame, schema, values, extremes, rng), total, tried)


def _cuts(scorer: Scorer, feature: int) -> list[float]:
    cuts: Callable[[int], list[float]] = getattr(scorer, "cuts", lambda _: [])
    return cuts(feature)


def _labels(scorer: Scorer, i: int, feature: Feature) -> list[Value]:
    labels: Callable[[int], tuple[str, ...]] = getattr(scorer, "labels", lambda _: ())
    known = sorted({*feature.categories, *labels(i)})
    return [*known, *(label.upper() for label in known), *(f"{label} " for label in known), *UNSEEN]


def _numbers(feature: Feature, cuts: list[float]) -> list[float]:
    on = [*cuts, *(feature.observed or ())]
    return [v for c in on for v in (float(np.nextafter(c, -LARGEST)), c, float(np.nextafter(c, LARGEST)))]


def _accepted(frame: pd.DataFrame, feature: Feature, accepts: Callable[[pd.DataFrame], bool]) -> list[float]:
    """The extreme values of a number that the pipeline accepts."""

    def accepted(values: tuple[float, ...]) -> bool:
        rows = frame.iloc[[0] * len(values)].reset_index(drop=True)
        return accepts(rows.assign(**{feature.name: np.array(values)}))

    found: list[float] = []
    for values in (EXTREMES, ABSURD):
        found += values if accepted(values) else [value for value in values if accepted((value,))]
    return found


def _rows(
    frame: pd.DataFrame,
    schema: Schema,
    values: list[list[Value]],
    extremes: list[list[float]],
    rng: random.Random,
) -> pd.DataFrame:
    import pandas as pd

    count = sum(map(len, values)) + sum(map(len, extremes))
    background = frame.iloc[[rng.randrange(len(frame)) for _ in range(count)]].reset_index(drop=True)
    columns: dict[str, list[Any]] = {name: background[name].tolist() for name in schema.names}
    at = 0
    for feature, odd, extreme in zip(schema, values, extremes, strict=True):
        alone = [*odd, *extreme]
        columns[feature.name][at : at + len(alone)] = alone
        at += len(alone)
    for _ in range(MIXED_ROWS):
        for feature, odd in zip(schema, values, strict=True):
            columns[feature.name].append(rng.choice(odd))
    made = {
        feature.name: pd.Series(columns[feature.name]).astype(frame[feature.name].dtype)
        if feature.kind == "category"
        else np.array([np.nan if v is None else v for v in columns[feature.name]], dtype=np.float64)
        for feature in schema
    }
    return pd.DataFrame(made)
