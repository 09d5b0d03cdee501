"""The figures that judge probabilities, as functions of plain arrays: training and monitoring compute the same.

``labels`` are 0 or 1, shape (n,). ``scores`` and ``probabilities`` are of label 1, float64, shape (n,). Intervals are at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.scorers.probability import expit_array

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

Z = 1.959963984540054  # the normal distribution's 97.5 % point
_EDGE = 1e-15  # probabilities of exactly 0 or 1 have no log-odds


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


# --- ranking -------------------------------------------------------------------------------------------------------------


def roc_auc(labels: Labels, scores: Floats) -> Estimate:
    """The chance that a positive row scores above a negative one; a tie counts half (Mann and Whitney 1947).

    The interval is the one of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988). Raises :class:`ValueError` when only one
    of the labels is there.
    """
    return _interval(*_placements(labels, scores), 0.0, 1.0)


def roc_auc_difference(labels: Labels, first: Floats, second: Floats) -> Estimate:
    """ROC-AUC of ``second`` minus that of ``first`` on the same rows, with DeLong's paired interval."""
    beats, beaten = _placements(labels, first)
    beats_too, beaten_too = _placements(labels, second)
    return _interval(beats_too - beats, beaten_too - beaten, -1.0, 1.0)


def _placements(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it; a tie counts half."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    if not len(positive) or not len(negative):
        raise ValueError("the ROC needs rows of both labels")
    low, high = np.sort(negative), np.sort(positive)
    beats = (np.searchsorted(low, positive, "left") + np.searchsorted(low, positive, "right")) / 2
    beaten = (np.searchsorted(high, negative, "left") + np.searchsorted(high, negative, "right")) / 2
    return beats / len(negative), 1 - beaten / len(positive)


def _interval(beats: Floats, beaten: Floats, lowest: float, highest: float) -> Estimate:
    value = float(beats.mean())
    reach = Z * float(np.sqrt(beats.var(ddof=1) / len(beats) + beaten.var(ddof=1) / len(beaten)))
    return Estimate(value, max(lowest, value - reach), min(highest, value + reach))


def estimated_roc_auc(probabilities: Floats, weights: Floats | None = None) -> float | None:
    """The ROC-AUC to expect before any outcome is known, if the probabilities are calibrated.

    Each row counts as positive with its probability and as negative with the rest: confidence-based performance estimation
    (CBPE, https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html). None where all probabilities
    are 0, or all are 1.
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


def lift(labels: Labels, scores: Floats, share: float = 0.1) -> Estimate:
    """The positives' rate among the ``share`` of rows with the highest scores, as a multiple of the overall rate.

    Rows that tie at the border count in proportion, so the order of the rows does not matter. The interval is Wilson's for the
    share of all positives that is found there.
    """
    wanted = share * len(scores)
    border = np.sort(scores)[::-1][int(np.ceil(wanted)) - 1]
    above, tied = scores > border, scores == border
    found = float(labels[above].sum() + labels[tied].mean() * (wanted - above.sum()))
    positives = int(labels.sum())
    low, high = wilson(found, positives)
    return Estimate(found / positives / share, low / share, high / share)


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's coefficient of two scores of the same n rows (American Journal of Psychology 15, 1904); ties share a rank.

    -1 says that the order is reversed, 0 that there is no relation. None where all values of one side are equal.
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)


# --- probabilities ---------------------------------------------------------------------------------------------------------


def log_odds(probabilities: Floats) -> Floats:
    """``log(p / (1 - p))``, with p kept away from 0 and 1 by 1e-15."""
    p = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def wilson(hits: float, count: int) -> tuple[float, float]:
    """The score interval of a rate (Wilson 1927), which stays inside [0, 1] for rare events."""
    rate, total = hits / count, 1 + Z * Z / count
    middle = (rate + Z * Z / (2 * count)) / total
    reach = Z * float(np.sqrt(rate * (1 - rate) / count + Z * Z / (4 * count * count))) / total
    return min(rate, max(0.0, middle - reach)), max(rate, min(1.0, middle + reach))  # rounding, at the rates 0 and 1


def rate_ratio(hits: int, count: int, other_hits: int, other_count: int) -> Estimate | None:
    """The rate of one group as a multiple of another's, with Koopman's score interval (Biometrics 40, 1984).

    It inverts the score test, as Wilson's interval does for one rate, so it also holds for small groups and for rates of 0 and
    1. For large groups it agrees with Katz's interval of the logarithm (Biometrics 34, 1978). ``high`` is infinite where it has
    no end. None where the other group has no hits, so that there is no ratio.
    """
    if not other_hits:
        return None
    value = hits / count * other_count / other_hits

    def within(ratio: float) -> bool:
        return _ratio_score(ratio, (hits, count), (other_hits, other_count)) <= Z * Z

    low = _end(lambda step: within(value * math.exp(-step)))
    high = _end(lambda step: within((value or 1 / count) * math.exp(step)))
    return Estimate(value, 0.0 if not hits else value * math.exp(-low), (value or 1 / count) * math.exp(high))


def _ratio_score(ratio: float, own: tuple[int, int], other: tuple[int, int]) -> float:
    """The score statistic of the hypothesis that the rates (hits, count) have this ratio; chi-squared with one degree."""
    (hits, count), (other_hits, other_count) = own, other
    a = (count + other_count) * ratio
    b = count * ratio + hits + other_count + other_hits * ratio
    p = (
        2 * (hits + other_hits) / (b + math.sqrt(max(0.0, b * b - 4 * a * (hits + other_hits))))
    )  # of the other, likeliest
    variance = ratio * p * max(0.0, 1 - ratio * p) / count + ratio * ratio * p * max(0.0, 1 - p) / other_count
    difference = hits / count - ratio * other_hits / other_count
    return 0.0 if difference == 0 else math.inf if variance == 0 else difference * difference / variance


def _end(within: Callable[[float], bool]) -> float:
    """The largest step from 0 up that is still within; infinite where all are."""
    inside, outside = 0.0, 60.0
    if within(outside):
        return math.inf
    for _ in range(100):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if within(middle) else (inside, middle)
    return inside


def predicted_to_observed(labels: Labels, probabilities: Floats) -> Estimate:
    """The mean probability as a multiple of the observed rate; the interval is Wilson's of that rate."""
    low, high = wilson(float(labels.sum()), len(labels))
    mean = float(probabilities.mean())
    return Estimate(mean / float(labels.mean()), mean / high, mean / low)


def calibration_line(labels: Labels, probabilities: Floats) -> tuple[Estimate, Estimate] | None:
    """(intercept, slope) of the logistic regression of the labels on the log-odds; 0 and 1 are perfect (Cox 1958).

    A slope below 1 says that the probabilities are too extreme, above 1 that they are too timid. Newton's method without a
    penalty finds the line; the intervals are Wald's. None where the line is not determined: one probability for all rows, or
    perfect separation.
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


def _wald(line: Floats, covariance: Floats, center: float) -> tuple[Estimate, Estimate]:
    intercept, slope = float(line[0] - line[1] * center), float(line[1])
    variance = covariance[0, 0] - 2 * center * covariance[0, 1] + center**2 * covariance[1, 1]
    reach = Z * float(np.sqrt(variance)), Z * float(np.sqrt(covariance[1, 1]))
    return (
        Estimate(intercept, intercept - reach[0], intercept + reach[0]),
        Estimate(slope, slope - reach[1], slope + reach[1]),
    )


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One group of a calibration curve: its mean probability, its observed rate with Wilson's interval, and its size."""

    predicted: float
    observed: float
    low: float
    high: float
    count: int


def calibration_curve(labels: Labels, probabilities: Floats, bins: int = 10) -> list[CurvePoint]:
    """Predicted against observed rate in ``bins`` groups of equal size, from the lowest probabilities up."""
    points = []
    order = np.argsort(probabilities, kind="stable")
    for part in np.array_split(order, min(bins, len(order))):
        low, high = wilson(float(labels[part].sum()), len(part))
        predicted, observed = float(probabilities[part].mean()), float(labels[part].mean())
        points.append(CurvePoint(predicted, observed, low, high, len(part)))
    return points


# --- stability -----------------------------------------------------------------------------------------------------------


def stability_index(reference: Floats, live: Floats, rows: float) -> float:
    """Population stability index of ``live`` (shares, k bins) against ``reference`` (counts, k bins); 0 is no difference.

    ``rows`` is how many rows ``live`` was measured on. The index is the sum of ``(live - reference) * log(live / reference)``
    over the shares (Siddiqi, Credit Risk Scorecards, 2006). A bin that is empty on one side counts as half a row there; one
    that is empty on both sides is left out.
    """
    total = float(reference.sum())
    used = (reference > 0) | (live > 0)
    before = np.maximum(reference[used], 0.5) / total
    after = np.maximum(live[used], 0.5 / rows)
    return float(((after - before) * np.log(after / before)).sum())
