"""The figures, as functions of plain arrays. Intervals are at 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.scorers.probability import expit_array

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

Z = 1.959963984540054  # the normal distribution's 97.5 % point
_EDGE = 1e-15  # probabilities of exactly 0 or 1 have no log-odds
_FEW_EXPECTED = 5.0  # Cochran's rule for the chi-squared approximation


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


# --- distributions -------------------------------------------------------------------------------------------------------


def stability_index(reference: Floats, live: Floats, rows: float) -> float:
    """Population stability index of ``live`` (shares, k bins) against ``reference`` (counts, k bins); 0 is no difference.

    ``rows`` is how many rows ``live`` was measured on. The sum of ``(live - reference) * log(live / reference)`` (Siddiqi,
    Credit Risk Scorecards, 2006). A bin without a row on one side counts as half a row there; one without any on both is
    left out.
    """
    total = float(reference.sum())
    used = (reference > 0) | (live > 0)
    before = np.maximum(reference[used], 0.5) / total
    after = np.maximum(live[used], 0.5 / rows)
    return float(((after - before) * np.log(after / before)).sum())


def homogeneity(reference: Floats, live: Floats) -> float:
    """The probability of so different counts, or more different ones, by chance: Pearson's chi-squared test of a 2 x k table.

    Bins with an expectation below 5 are taken together, as Cochran (1954) asks.
    """
    table = np.stack([reference, live])
    sides = table.sum(axis=1)
    if min(sides) <= 0:
        return 1.0
    share = table.sum(axis=0) / sides.sum()
    few = share * sides.min() < _FEW_EXPECTED
    pooled = np.column_stack([table[:, ~few], table[:, few].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:
        return 1.0
    expected = np.outer(sides, pooled.sum(axis=0) / sides.sum())
    return chi_squared_tail(pooled.shape[1] - 1, float(((pooled - expected) ** 2 / expected).sum()))


def chi_squared_tail(degrees: int, value: float) -> float:
    """The probability that a chi-squared variable of that many degrees of freedom exceeds ``value`` ≥ 0.

    The regularised incomplete gamma function Q(degrees / 2, value / 2), from Q(1/2, h) = erfc(√h) or Q(1, h) = exp(-h) up by
    Q(a + 1, h) = Q(a, h) + hᵃ exp(-h) / Γ(a + 1) (DLMF 8.4.6, 8.8.6). scipy has it too, for a quarter of this process's memory.
    """
    half = value / 2
    if half == 0:
        return 1.0
    tail, shape = (math.exp(-half), 1.0) if degrees % 2 == 0 else (math.erfc(math.sqrt(half)), 0.5)
    while shape < degrees / 2:
        tail += math.exp(shape * math.log(half) - half - math.lgamma(shape + 1))
        shape += 1
    return min(tail, 1.0)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: calling all below q a finding makes at most a part q of the findings false ones, on average.

    Benjamini and Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57 (1995).
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    adjusted = [1.0] * len(p_values)
    least = 1.0
    for above, i in enumerate(order):
        least = min(least, p_values[i] * len(p_values) / (len(p_values) - above))
        adjusted[i] = least
    return adjusted


def effective_rows(weights: Floats, rows: Floats) -> float:
    """How many equally weighted rows are worth as much as ``rows[h]`` rows of the weight ``weights[h]`` (Kish 1965)."""
    return float((weights * rows).sum() ** 2 / (weights**2 * rows).sum())


# --- ranking -------------------------------------------------------------------------------------------------------------


def roc_auc(labels: Labels, scores: Floats) -> Interval:
    """The chance that a positive row scores above a negative one, ties counting half; both kinds must be there.

    The interval is that of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988).
    """
    return _interval(*_placements(labels, scores), 0.0, 1.0)


def roc_auc_difference(labels: Labels, first: Floats, second: Floats) -> Interval:
    """ROC-AUC of ``second`` minus that of ``first`` on the same rows, with DeLong's paired interval."""
    beats, beaten = _placements(labels, first)
    beats_too, beaten_too = _placements(labels, second)
    return _interval(beats_too - beats, beaten_too - beaten, -1.0, 1.0)


def _placements(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative that of positives above it; ties are half."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    low, high = np.sort(negative), np.sort(positive)
    beats = (np.searchsorted(low, positive, "left") + np.searchsorted(low, positive, "right")) / 2
    beaten = (np.searchsorted(high, negative, "left") + np.searchsorted(high, negative, "right")) / 2
    return beats / len(negative), 1 - beaten / len(positive)


def _interval(beats: Floats, beaten: Floats, lowest: float, highest: float) -> Interval:
    value = float(beats.mean())
    reach = Z * float(np.sqrt(beats.var(ddof=1) / len(beats) + beaten.var(ddof=1) / len(beaten)))
    return Interval(value, max(lowest, value - reach), min(highest, value + reach))


def estimated_roc_auc(probabilities: Floats, weights: Floats | None = None) -> float | None:
    """The ROC-AUC to expect before any outcome is known, if the probabilities are calibrated.

    Each row counts as positive with its probability and as negative with the rest: confidence-based performance estimation
    (CBPE, https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html). None without both.
    """
    weight = np.ones_like(probabilities) if weights is None else weights
    _, group = np.unique(probabilities, return_inverse=True)
    positive = np.bincount(group, weight * probabilities)
    negative = np.bincount(group, weight * (1 - probabilities))
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)


def lift(labels: Labels, scores: Floats, share: float = 0.1) -> Interval:
    """The positives' rate among the ``share`` of rows with the highest scores, as a multiple of the overall rate.

    Rows that tie at the border count in proportion. The interval is Wilson's for the part of all positives that is found there.
    """
    wanted = share * len(scores)
    border = np.sort(scores)[::-1][int(np.ceil(wanted)) - 1]
    above, tied = scores > border, scores == border
    found = float(labels[above].sum() + labels[tied].mean() * (wanted - above.sum()))
    positives = int(labels.sum())
    low, high = wilson(found, positives)
    return Interval(found / positives / share, low / share, high / share)


# --- calibration ---------------------------------------------------------------------------------------------------------


def log_odds(probabilities: Floats) -> Floats:
    """``log(p / (1 - p))``, with p kept away from 0 and 1 by 1e-15."""
    p = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def wilson(hits: float, count: int) -> tuple[float, float]:
    """The score interval of a rate (Wilson 1927), which stays inside [0, 1] for rare events."""
    rate, total = hits / count, 1 + Z * Z / count
    middle = (rate + Z * Z / (2 * count)) / total
    reach = Z * float(np.sqrt(rate * (1 - rate) / count + Z * Z / (4 * count * count))) / total
    return max(0.0, middle - reach), min(1.0, middle + reach)


def predicted_to_observed(labels: Labels, probabilities: Floats) -> Interval:
    """The mean probability as a multiple of the observed rate; the interval is Wilson's of that rate."""
    low, high = wilson(float(labels.sum()), len(labels))
    mean = float(probabilities.mean())
    return Interval(mean / float(labels.mean()), mean / high, mean / low)


def calibration_line(labels: Labels, probabilities: Floats) -> tuple[Interval, Interval] | None:
    """(intercept, slope) of the logistic regression of the labels on the log-odds; 0 and 1 are perfect (Cox 1958).

    A slope below 1 says that the probabilities are too extreme, above 1 that they are too timid. Newton's method, without a
    penalty; Wald's intervals. None where the line is not determined: one probability for all, or perfect separation.
    """
    x = log_odds(probabilities)
    if np.ptp(x) == 0:
        return None
    center = float(x.mean())
    design = np.column_stack([np.ones_like(x), x - center])
    rate = float(labels.mean())
    line = np.array([np.log(rate / (1 - rate)), 0.0])
    for _ in range(50):
        p = expit_array(design @ line)
        information = (design * (p * (1 - p))[:, None]).T @ design
        if not np.linalg.cond(information) < 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (labels - p))
        line = line + step
        if np.abs(step).max() < 1e-10:
            return _wald(line, np.asarray(np.linalg.inv(information), np.float64), center)
    return None


def _wald(line: Floats, covariance: Floats, center: float) -> tuple[Interval, Interval]:
    intercept, slope = float(line[0] - line[1] * center), float(line[1])
    variance = covariance[0, 0] - 2 * center * covariance[0, 1] + center**2 * covariance[1, 1]
    reach = Z * float(np.sqrt(variance)), Z * float(np.sqrt(covariance[1, 1]))
    return (
        Interval(intercept, intercept - reach[0], intercept + reach[0]),
        Interval(slope, slope - reach[1], slope + reach[1]),
    )


def calibration_curve(labels: Labels, probabilities: Floats, bins: int = 10) -> list[dict[str, Any]]:
    """Predicted against observed rate in ``bins`` groups of equal size, from the lowest probabilities up."""
    order = np.argsort(probabilities, kind="stable")
    points = []
    for part in np.array_split(order, min(bins, len(order))):
        low, high = wilson(float(labels[part].sum()), len(part))
        predicted, observed = float(probabilities[part].mean()), float(labels[part].mean())
        points.append({"predicted": predicted, "observed": observed, "low": low, "high": high, "count": len(part)})
    return points
