"""How good a model of a rare event is: every figure that chooses a model, with its uncertainty from the bootstrap.

Every function takes ``labels`` (0 or 1, shape (n,)) and ``scores`` or ``probabilities`` of label 1 (float64, shape (n,)).
No figure depends on a threshold of 0.5: at a late rate of 2 %, a model that calls nobody late is right as often as any other.
The figures that monitoring shares are in :mod:`modelbundle.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

from modelbundle import statistics
from modelbundle.statistics import Estimate, Floats, Labels

Statistic = Callable[[Labels, Floats], float]


def kolmogorov_smirnov(labels: Labels, scores: Floats) -> float:
    """The largest distance between the score distributions of late and other loans, in [0, 1]."""
    late, other = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    points = np.unique(scores)
    below_late = np.searchsorted(late, points, side="right") / len(late)
    below_other = np.searchsorted(other, points, side="right") / len(other)
    return float(np.abs(below_late - below_other).max())


def expected_calibration_error(labels: Labels, probabilities: Floats, bins: int = 10) -> float:
    """The mean distance between predicted and observed rate over the calibration curve, weighted by group size."""
    curve = statistics.calibration_curve(labels, probabilities, bins)
    distances = np.array([abs(point.predicted - point.observed) * point.count for point in curve])
    return float(distances.sum() / len(labels))


# --- stability -------------------------------------------------------------------------------------------------------


def score_stability(reference: Floats, current: Floats, bins: int = 10) -> float:
    """Population stability index of ``current`` scores against the deciles of the ``reference`` scores.

    By custom, a value below 0.1 is stable and one above 0.25 has shifted. See :func:`modelbundle.statistics.stability_index`.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))

    def counts(values: Floats) -> Floats:
        found = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        return found.astype(np.float64)

    return statistics.stability_index(counts(reference), counts(current) / len(current), len(current))


# --- together --------------------------------------------------------------------------------------------------------


def _line(labels: Labels, probabilities: Floats) -> tuple[Estimate, Estimate]:
    line = statistics.calibration_line(labels, probabilities)
    if line is None:
        raise ValueError("these probabilities have no calibration slope: they are all equal, or separate the labels")
    return line


STATISTICS: Mapping[str, Statistic] = {
    "roc_auc": lambda labels, p: statistics.roc_auc(labels, p).value,
    "average_precision": lambda labels, p: float(average_precision_score(labels, p)),
    "ks": kolmogorov_smirnov,
    "lift_top_decile": lambda labels, p: statistics.lift(labels, p).value,
    "log_loss": lambda labels, p: float(log_loss(labels, p)),
    "brier": lambda labels, p: float(brier_score_loss(labels, p)),
    "calibration_slope": lambda labels, p: _line(labels, p)[1].value,
    "calibration_intercept": lambda labels, p: _line(labels, p)[0].value,
    "expected_calibration_error": expected_calibration_error,
    "predicted_to_observed": lambda labels, p: statistics.predicted_to_observed(labels, p).value,
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
