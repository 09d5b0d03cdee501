"""The figures by which models are chosen agree with hand-computed cases and with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from late_payers import evaluation
from modelbundle import statistics
from modelbundle.statistics import Estimate, Floats, Labels

LABELS = np.array([0, 0, 1, 0, 1, 0, 0, 1, 0, 0])
SCORES = np.array([0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.05, 0.9, 0.15, 0.25])


@pytest.fixture(scope="module")
def book() -> tuple[Labels, Floats]:
    """Four thousand loans whose outcomes follow their probabilities exactly, some probabilities tied."""
    rng = np.random.default_rng(11)
    probabilities = np.round(1 / (1 + np.exp(-rng.normal(-2.5, 1.0, 4000))), 3) + 0.0005
    return (rng.random(4000) < probabilities).astype(np.int64), probabilities


def test_delong_agrees_with_the_bootstrap(book: tuple[Labels, Floats]) -> None:
    """DeLong's interval and the bootstrap's are of the same width to a fifth."""
    delong = statistics.roc_auc(*book)
    drawn = evaluation.bootstrap(*book, names=("roc_auc",), rounds=300)["roc_auc"]
    assert (delong.high - delong.low) / (drawn.high - drawn.low) == pytest.approx(1, abs=0.2)
    assert drawn.low < delong.value < drawn.high


def test_ks_by_hand() -> None:
    """At 0.25 five of the seven loans on time are passed and none of the late ones: the largest distance."""
    on_time = np.sort(SCORES[LABELS == 0])
    assert (on_time <= 0.25).sum() == 5
    assert evaluation.kolmogorov_smirnov(LABELS, SCORES) == pytest.approx(5 / 7, abs=1e-12)


def test_ks_is_the_widest_gap_of_the_roc(book: tuple[Labels, Floats]) -> None:
    """KS is the largest difference between the true and the false positive rate."""
    false, true, _ = roc_curve(*book)
    assert evaluation.kolmogorov_smirnov(*book) == pytest.approx((true - false).max(), abs=1e-12)


def test_calibration_line_needs_a_spread() -> None:
    """A constant probability has no slope."""
    with pytest.raises(ValueError, match="slope"):
        evaluation.evaluate(LABELS, np.full(10, 0.3))


def test_expected_calibration_error_by_hand() -> None:
    """With two groups it is the mean of the two distances between predicted and observed rate."""
    p = np.array([0.1, 0.1, 0.4, 0.4])
    labels = np.array([0, 0, 1, 0])
    assert evaluation.expected_calibration_error(labels, p, bins=2) == pytest.approx((0.1 + 0.1) / 2)


def test_stability_index_by_hand() -> None:
    """Shares that move from (1/2, 1/2) to (3/4, 1/4) give 1/4 ln(3/2) + 1/4 ln 2."""
    before, after = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])
    expected = 0.25 * np.log(1.5) + 0.25 * np.log(2)
    assert evaluation.score_stability(before, after, bins=2) == pytest.approx(expected)


def test_stability_index_of_nothing_changed(book: tuple[Labels, Floats]) -> None:
    """The same scores are perfectly stable, and an empty group is no division by zero."""
    _, p = book
    assert evaluation.score_stability(p, p) == pytest.approx(0, abs=1e-12)
    assert np.isfinite(evaluation.score_stability(p, p[p > 0.5]))


def test_evaluate_names_every_figure(book: tuple[Labels, Floats]) -> None:
    """The summary has every statistic, and each bootstrap interval holds its value's neighbourhood in order."""
    figures = evaluation.evaluate(*book)
    intervals = evaluation.bootstrap(*book, rounds=40, seed=3)
    assert set(figures) == set(intervals) == set(evaluation.STATISTICS)
    for name, estimate in intervals.items():
        assert estimate.value == figures[name]
        assert estimate.low < estimate.high


def test_bootstrap_is_seeded(book: tuple[Labels, Floats]) -> None:
    """The same seed gives the same interval, another seed another."""
    first, again, other = (evaluation.bootstrap(*book, names=("ks",), rounds=20, seed=s)["ks"] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_metrics_are_json_values() -> None:
    """A manifest gets plain rounded numbers."""
    metrics = evaluation.as_metrics({"roc_auc": Estimate(0.72345678, 0.71, 0.73)})
    assert metrics == {"roc_auc": {"value": 0.723457, "low": 0.71, "high": 0.73}}
