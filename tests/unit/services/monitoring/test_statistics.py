"""The figures of monitoring, against values by hand, scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import chdtrc
from scipy.stats import chi2_contingency, false_discovery_control
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from services.monitoring.analysis import statistics
from services.monitoring.log_reader.request_counts import quantile


def drawn(rows: int = 3000, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities with ties, and labels drawn with them."""
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.beta(1.2, 12, rows), 3).clip(0.001, 0.999)
    return (rng.random(rows) < probabilities).astype(np.int64), probabilities


def test_the_stability_index_by_hand() -> None:
    """Half and half became four in five: 0.3 * log(1.6) - 0.3 * log(0.4); equal shares give 0."""
    index = statistics.stability_index(np.array([50.0, 50.0]), np.array([0.8, 0.2]), 100)
    assert index == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))
    assert statistics.stability_index(np.array([30.0, 70.0, 0.0]), np.array([0.3, 0.7, 0.0]), 100) == 0


def test_a_bin_that_was_empty_counts_as_half_a_row() -> None:
    """So a new category has a finite index: a tenth of 200 rows against half a row of 1000."""
    index = statistics.stability_index(np.array([1000.0, 0.0]), np.array([0.9, 0.1]), 200)
    assert index == pytest.approx(-0.1 * np.log(0.9) + (0.1 - 0.0005) * np.log(0.1 / 0.0005))


def test_the_test_of_homogeneity_is_pearsons() -> None:
    """As scipy's, without the correction for two by two; small expectations are taken together first."""
    before, after = np.array([500.0, 300.0, 200.0]), np.array([90.0, 70.0, 40.0])
    assert statistics.homogeneity(before, after) == pytest.approx(
        chi2_contingency(np.stack([before, after]), correction=False).pvalue
    )
    rare = statistics.homogeneity(np.array([500.0, 300.0, 6.0, 4.0]), np.array([90.0, 70.0, 0.0, 2.0]))
    assert rare == pytest.approx(chi2_contingency([[500.0, 300.0, 10.0], [90.0, 70.0, 2.0]], correction=False).pvalue)
    assert statistics.homogeneity(before, before) == 1
    assert statistics.homogeneity(before, np.zeros(3)) == 1


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 51, 1000])
def test_the_tail_of_chi_squared_is_scipys(degrees: int) -> None:
    """From where it is one to where it is nothing."""
    for value in (0.0, 1e-9, 0.5, 3.84, 40.0, degrees / 2, degrees, degrees * 1.2, 2000.0, 1e9):
        assert statistics.chi_squared_tail(degrees, value) == pytest.approx(
            chdtrc(degrees, value), rel=1e-9, abs=1e-300
        )


def test_benjamini_and_hochberg_by_hand() -> None:
    """0.01, 0.02, 0.03 and 0.5 of four: times 4/1, 4/2, 4/3 and 1, made monotone from the largest down; as scipy's."""
    found = statistics.benjamini_hochberg([0.02, 0.5, 0.01, 0.03])
    assert found == pytest.approx([0.04, 0.5, 0.04, 0.04])
    p = np.random.default_rng(1).random(25) ** 3
    assert statistics.benjamini_hochberg(p.tolist()) == pytest.approx(false_discovery_control(p).tolist())
    assert statistics.benjamini_hochberg([]) == []


def test_roc_auc_is_scikit_learns_and_its_interval_that_of_the_bootstrap() -> None:
    """Ties included; DeLong's standard error is within a tenth of the one over resamples."""
    labels, probabilities = drawn()
    found = statistics.roc_auc(labels, probabilities)
    assert found.value == pytest.approx(roc_auc_score(labels, probabilities), abs=1e-12)
    rng = np.random.default_rng(0)
    again = []
    for _ in range(400):
        rows = rng.integers(0, len(labels), len(labels))
        again.append(statistics.roc_auc(labels[rows], probabilities[rows]).value)
    assert (found.high - found.low) / 2 / statistics.Z == pytest.approx(np.std(again), rel=0.1)


def test_the_difference_of_two_models_is_paired() -> None:
    """A model beside itself has a difference of exactly 0; one beside noise has the difference of both figures."""
    labels, probabilities = drawn()
    noise = np.random.default_rng(2).random(len(labels))
    same = statistics.roc_auc_difference(labels, probabilities, probabilities)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    other = statistics.roc_auc_difference(labels, noise, probabilities)
    assert other.value == pytest.approx(roc_auc_score(labels, probabilities) - roc_auc_score(labels, noise))
    assert other.low > 0


def test_the_estimated_roc_auc_needs_no_outcome() -> None:
    """It is the weighted ROC-AUC in which each row is positive and negative by its probability; outcomes confirm it."""
    labels, probabilities = drawn(20_000)
    weights = np.random.default_rng(3).integers(1, 4, len(labels)).astype(float)
    twice = np.concatenate([probabilities, probabilities])
    both = np.repeat([1, 0], len(labels))
    expected = roc_auc_score(
        both, twice, sample_weight=np.concatenate([weights * probabilities, weights * (1 - probabilities)])
    )
    assert statistics.estimated_roc_auc(probabilities, weights) == pytest.approx(expected)
    live = statistics.roc_auc(labels, probabilities)
    estimated = statistics.estimated_roc_auc(probabilities)
    assert estimated is not None
    assert live.low < estimated < live.high
    assert statistics.estimated_roc_auc(np.zeros(3)) is None


def test_the_calibration_line_is_a_logistic_regression() -> None:
    """As scikit-learn's without a penalty; 0 and 1 lie in the intervals of calibrated probabilities, not of squeezed ones."""
    labels, probabilities = drawn(6000)
    line = statistics.calibration_line(labels, probabilities)
    assert line is not None
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(statistics.log_odds(probabilities)[:, None], labels)
    assert [part.value for part in line] == pytest.approx([fitted.intercept_[0], fitted.coef_[0, 0]], rel=1e-4)
    assert line[0].low < 0 < line[0].high
    assert line[1].low < 1 < line[1].high
    extreme = 1 / (1 + np.exp(-2 * statistics.log_odds(probabilities)))
    slope = statistics.calibration_line(labels, extreme)
    assert slope is not None
    assert slope[1].high < 0.6
    assert statistics.calibration_line(labels, np.full(len(labels), 0.1)) is None
    assert statistics.calibration_line(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) is None


def test_lift_by_hand() -> None:
    """Of 100 rows 10 are positive, 4 of them among the ten highest: 4 times the rate; ties count in proportion."""
    labels = np.zeros(100, dtype=np.int64)
    labels[[0, 1, 2, 3, 50, 51, 52, 53, 54, 55]] = 1
    found = statistics.lift(labels, np.linspace(1, 0, 100))
    assert found.value == pytest.approx(4)
    assert found.low < 4 < found.high
    assert statistics.lift(labels, np.zeros(100)).value == pytest.approx(1)


def test_predicted_to_observed_by_hand() -> None:
    """Twice as many expected as came; the interval is that of the observed rate."""
    labels = np.array([1] * 20 + [0] * 180)
    found = statistics.predicted_to_observed(labels, np.full(200, 0.2))
    low, high = statistics.wilson(20, 200)
    assert (found.value, found.low, found.high) == pytest.approx((2, 0.2 / high, 0.2 / low))


def test_hours_weigh_what_their_rows_do() -> None:
    """Equal weights lose nothing; one in ten of a busy hour beside a whole quiet one is worth less than its rows."""
    assert statistics.effective_rows(np.ones(3), np.array([5.0, 10.0, 15.0])) == pytest.approx(30)
    assert statistics.effective_rows(np.array([10.0, 1.0]), np.array([100.0, 100.0])) == pytest.approx(1100**2 / 10100)


def test_quantiles_of_a_histogram_are_those_of_prometheus() -> None:
    """Evenly spread within a bucket; beyond the last edge there is nothing to tell."""
    uppers = [0.01, 0.1, float("inf")]
    assert quantile(0.5, uppers, [10, 20, 20]) == 10
    assert quantile(0.75, uppers, [10, 20, 20]) == pytest.approx(55)
    assert quantile(0.99, uppers, [10, 20, 40]) == 100
    assert quantile(0.5, uppers, [0, 0, 0]) is None
