"""How good a model of a rare event is: ranking, probabilities, calibration, stability, each with its uncertainty.

Every function takes ``labels`` (0 or 1, shape (n,)) and ``scores`` or ``probabilities`` of label 1 (float64, shape (n,)).
Nothing here depends on a threshold of 0.5: at a late rate of 2 % every such figure is that of the answer "nobody".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Statistic = Callable[[Labels, Floats], float]

_EDGE = 1e-15  # probabilities of exactly 0 or 1 have no log-odds


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval at 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


# --- ranking ---------------------------------------------------------------------------------------------------------


def roc_auc(labels: Labels, scores: Floats) -> float:
    """The chance that a late loan scores above one that is on time, ties counting half (Mann and Whitney 1947).

    Raises :class:`ValueError` when only one of the labels is there.
    """
    late = labels == 1
    n_late, n_other = int(late.sum()), int((~late).sum())
    if n_late == 0 or n_other == 0:
        raise ValueError("the ROC needs loans of both labels")
    ranks = rankdata(scores)
    return float((ranks[late].sum() - n_late * (n_late + 1) / 2) / (n_late * n_other))


def _placements(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """For each late loan the share of others it beats, and for each other loan the share of late ones that beat it."""
    late = scores[labels == 1]
    other = scores[labels == 0]
    overall = rankdata(np.concatenate([late, other]))
    beats = (overall[: len(late)] - rankdata(late)) / len(other)
    beaten = 1.0 - (overall[len(late) :] - rankdata(other)) / len(late)
    return beats, beaten


def roc_auc_interval(labels: Labels, scores: Floats, level: float = 0.95) -> Estimate:
    """ROC-AUC with the interval of DeLong, DeLong and Clarke-Pearson (1988), normal approximation."""
    beats, beaten = _placements(labels, scores)
    error = float(np.sqrt(beats.var(ddof=1) / len(beats) + beaten.var(ddof=1) / len(beaten)))
    reach = float(norm.ppf(0.5 + level / 2)) * error
    value = float(beats.mean())
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def roc_auc_difference(labels: Labels, first: Floats, second: Floats, level: float = 0.95) -> Estimate:
    """ROC-AUC of ``first`` minus that of ``second`` on the same loans, with DeLong's paired interval."""
    beats_a, beaten_a = _placements(labels, first)
    beats_b, beaten_b = _placements(labels, second)
    beats, beaten = beats_a - beats_b, beaten_a - beaten_b
    error = float(np.sqrt(beats.var(ddof=1) / len(beats) + beaten.var(ddof=1) / len(beaten)))
    reach = float(norm.ppf(0.5 + level / 2)) * error
    value = float(beats.mean())
    return Estimate(value, value - reach, value + reach)


def kolmogorov_smirnov(labels: Labels, scores: Floats) -> float:
    """The largest distance between the score distributions of late and other loans, in [0, 1]."""
    late, other = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    points = np.unique(scores)
    below_late = np.searchsorted(late, points, side="right") / len(late)
    below_other = np.searchsorted(other, points, side="right") / len(other)
    return float(np.abs(below_late - below_other).max())


def lift(labels: Labels, scores: Floats, share: float = 0.1) -> float:
    """The late rate among the ``share`` of loans with the highest scores, as a multiple of the overall late rate.

    Loans that tie at the border are counted in proportion, so the order of the rows does not matter.
    """
    wanted = share * len(scores)
    border = np.sort(scores)[::-1][int(np.ceil(wanted)) - 1]
    above, tied = scores > border, scores == border
    late = labels[above].sum() + labels[tied].mean() * (wanted - above.sum())
    return float(late / wanted / labels.mean())


# --- probabilities ---------------------------------------------------------------------------------------------------


def log_odds(probabilities: Floats) -> Floats:
    """``log(p / (1 - p))``, with p kept away from 0 and 1 by 1e-15."""
    p = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def calibration_line(labels: Labels, probabilities: Floats) -> tuple[float, float]:
    """(intercept, slope) of the logistic regression of the labels on the log-odds; (0, 1) is perfect (Cox 1958).

    A slope below 1 says that the probabilities are too extreme, above 1 that they are too timid. Newton's method, without
    a penalty. Raises :class:`ValueError` when all probabilities are equal.
    """
    x = log_odds(probabilities)
    if np.ptp(x) == 0:
        raise ValueError("one probability for all loans has no calibration slope")
    center = float(x.mean())
    design = np.column_stack([np.ones_like(x), x - center])
    rate = float(labels.mean())
    line = np.array([np.log(rate / (1 - rate)), 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(design @ line)))
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design, design.T @ (labels - p))
        line = line + step
        if np.abs(step).max() < 1e-10:
            break
    return float(line[0] - line[1] * center), float(line[1])


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One bin of a calibration curve: its mean probability, observed rate, interval of that rate, and size."""

    predicted: float
    observed: float
    low: float
    high: float
    count: int


def wilson(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a rate (Wilson 1927), which stays inside [0, 1] for rare events."""
    z = float(norm.ppf(0.5 + level / 2))
    rate, total = hits / count, 1 + z * z / count
    middle = (rate + z * z / (2 * count)) / total
    reach = z * float(np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))) / total
    return max(0.0, middle - reach), min(1.0, middle + reach)


def calibration_curve(labels: Labels, probabilities: Floats, bins: int = 10) -> list[CurvePoint]:
    """Predicted against observed late rate in ``bins`` groups of equal size, from the lowest probabilities up."""
    order = np.argsort(probabilities, kind="stable")
    points = []
    for part in np.array_split(order, bins):
        if len(part):
            low, high = wilson(int(labels[part].sum()), len(part))
            points.append(
                CurvePoint(float(probabilities[part].mean()), float(labels[part].mean()), low, high, len(part))
            )
    return points


def expected_calibration_error(labels: Labels, probabilities: Floats, bins: int = 10) -> float:
    """The mean distance between predicted and observed rate over :func:`calibration_curve`, weighted by group size."""
    curve = calibration_curve(labels, probabilities, bins)
    distances = np.array([abs(point.predicted - point.observed) * point.count for point in curve])
    return float(distances.sum() / len(labels))


# --- stability -------------------------------------------------------------------------------------------------------


def stability_index(reference: Floats, current: Floats, bins: int = 10) -> float:
    """Population stability index of ``current`` against the deciles of ``reference`` (Siddiqi, Credit Risk Scorecards).

    By custom below 0.1 is stable and above 0.25 has shifted. A group without a loan counts as half a loan.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))

    def shares(values: Floats) -> Floats:
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        return np.asarray(np.maximum(counts, 0.5) / len(values), dtype=np.float64)

    before, after = shares(reference), shares(current)
    return float(((after - before) * np.log(after / before)).sum())


# --- together --------------------------------------------------------------------------------------------------------


def _slope(labels: Labels, probabilities: Floats) -> float:
    return calibration_line(labels, probabilities)[1]


def _intercept(labels: Labels, probabilities: Floats) -> float:
    return calibration_line(labels, probabilities)[0]


def _rate_ratio(labels: Labels, probabilities: Floats) -> float:
    return float(probabilities.mean() / labels.mean())


STATISTICS: Mapping[str, Statistic] = {
    "roc_auc": roc_auc,
    "average_precision": lambda labels, p: float(average_precision_score(labels, p)),
    "ks": kolmogorov_smirnov,
    "lift_top_decile": lift,
    "log_loss": lambda labels, p: float(log_loss(labels, p)),
    "brier": lambda labels, p: float(brier_score_loss(labels, p)),
    "calibration_slope": _slope,
    "calibration_intercept": _intercept,
    "expected_calibration_error": expected_calibration_error,
    "predicted_to_observed": _rate_ratio,
}


def evaluate(labels: Labels, probabilities: Floats) -> dict[str, float]:
    """Every figure of :data:`STATISTICS`, without intervals."""
    return {name: statistic(labels, probabilities) for name, statistic in STATISTICS.items()}


def bootstrap(
    labels: Labels,
    probabilities: Floats,
    names: tuple[str, ...] = tuple(STATISTICS),
    rounds: int = 200,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Figures with percentile intervals (Efron 1979): loans are drawn with replacement, ``rounds`` times."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        rows = rng.integers(0, len(labels), len(labels))
        for name in names:
            drawn[name].append(STATISTICS[name](labels[rows], probabilities[rows]))
    return {
        name: Estimate(
            STATISTICS[name](labels, probabilities),
            *(float(q) for q in np.quantile(drawn[name], (0.025, 0.975))),
        )
        for name in names
    }


def as_metrics(estimates: Mapping[str, Estimate], digits: int = 6) -> dict[str, Any]:
    """Estimates as JSON values for a manifest: ``{name: {"value", "low", "high"}}``."""
    return {
        name: {key: round(number, digits) for key, number in asdict(estimate).items()}
        for name, estimate in estimates.items()
    }
