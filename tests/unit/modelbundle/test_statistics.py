"""The figures that judge probabilities agree with hand-computed cases, scikit-learn and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from modelbundle import statistics

LABELS = np.array([0, 0, 1, 0, 1, 0, 0, 1, 0, 0])
SCORES = np.array([0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.05, 0.9, 0.15, 0.25])


def drawn(rows: int = 3000, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities with ties, and labels drawn with them."""
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.beta(1.2, 12, rows), 3).clip(0.001, 0.999)
    return (rng.random(rows) < probabilities).astype(np.int64), probabilities


@pytest.fixture(scope="module")
def book() -> tuple[statistics.Labels, statistics.Floats]:
    """Four thousand loans whose outcomes follow their probabilities exactly, some probabilities tied."""
    rng = np.random.default_rng(11)
    probabilities = np.round(1 / (1 + np.exp(-rng.normal(-2.5, 1.0, 4000))), 3) + 0.0005
    return (rng.random(4000) < probabilities).astype(np.int64), probabilities


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


def test_roc_auc_counts_pairs() -> None:
    """The ROC-AUC is the share of (late, on time) pairs in the right order, ties counting half."""
    right = 0.0
    for late in SCORES[LABELS == 1]:
        for other in SCORES[LABELS == 0]:
            right += 1.0 if late > other else 0.5 if late == other else 0.0
    assert statistics.roc_auc(LABELS, SCORES).value == pytest.approx(right / 21, abs=1e-12)


def test_roc_auc_needs_both_labels() -> None:
    """One label alone has no ROC."""
    with pytest.raises(ValueError, match="both labels"):
        statistics.roc_auc(np.zeros(3, dtype=np.int64), np.arange(3.0))


def test_difference_of_a_model_with_itself_is_zero(book: tuple[statistics.Labels, statistics.Floats]) -> None:
    """A model is no better than itself, and without any doubt; scores scaled monotonically rank the same."""
    labels, p = book
    same = statistics.roc_auc_difference(labels, p, 3 * p + 1)
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-12)


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


def test_calibration_line_of_distorted_probabilities(
    book: tuple[statistics.Labels, statistics.Floats],
) -> None:
    """Log-odds doubled and shifted by 1 give half the slope and the intercept that undoes the shift."""
    labels, p = book
    distorted = 1 / (1 + np.exp(-(2 * np.log(p / (1 - p)) + 1)))
    before, after = statistics.calibration_line(labels, p), statistics.calibration_line(labels, distorted)
    assert before is not None
    assert after is not None
    intercept, slope = (part.value for part in before)
    assert [part.value for part in after] == pytest.approx([intercept - slope / 2, slope / 2], abs=1e-6)


def test_calibration_curve_covers_every_loan_once() -> None:
    """Groups are of equal size, rise in probability, and together hold every loan."""
    curve = statistics.calibration_curve(LABELS, SCORES, bins=5)
    assert [point.count for point in curve] == [2, 2, 2, 2, 2]
    assert [point.observed for point in curve] == [0, 0, 0.5, 0.5, 0.5]
    assert [point.predicted for point in curve] == pytest.approx([0.075, 0.175, 0.275, 0.35, 0.7])


def test_wilson_by_hand() -> None:
    """No late loan in ten still allows for a rate of 28 %; Wilson (1927), z = 1.96."""
    assert statistics.wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_lift_by_hand_with_its_interval() -> None:
    """Of 100 rows 10 are positive, 4 of them among the ten highest: 4 times the rate; ties count in proportion."""
    labels = np.zeros(100, dtype=np.int64)
    labels[[0, 1, 2, 3, 50, 51, 52, 53, 54, 55]] = 1
    found = statistics.lift(labels, np.linspace(1, 0, 100))
    assert found.value == pytest.approx(4)
    assert found.low < 4 < found.high
    assert statistics.lift(labels, np.zeros(100)).value == pytest.approx(1)


def test_lift_by_hand() -> None:
    """The top tenth of ten loans is one loan, it is late, and three in ten are: the lift is 10/3."""
    assert statistics.lift(LABELS, SCORES).value == pytest.approx(10 / 3)


def test_lift_counts_ties_in_proportion() -> None:
    """When all loans tie, the top is no better than the rest, in whatever order the rows come."""
    assert statistics.lift(LABELS, np.ones(10), share=0.3).value == pytest.approx(1.0)
    assert statistics.lift(LABELS[::-1], np.ones(10), share=0.3).value == pytest.approx(1.0)


def test_predicted_to_observed_by_hand() -> None:
    """Twice as many expected as came; the interval is that of the observed rate."""
    labels = np.array([1] * 20 + [0] * 180)
    found = statistics.predicted_to_observed(labels, np.full(200, 0.2))
    low, high = statistics.wilson(20, 200)
    assert (found.value, found.low, found.high) == pytest.approx((2, 0.2 / high, 0.2 / low))


def test_the_stability_index_by_hand() -> None:
    """Half and half became four in five: 0.3 * log(1.6) - 0.3 * log(0.4); equal shares give 0."""
    index = statistics.stability_index(np.array([50.0, 50.0]), np.array([0.8, 0.2]), 100)
    assert index == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))
    assert statistics.stability_index(np.array([30.0, 70.0, 0.0]), np.array([0.3, 0.7, 0.0]), 100) == 0


def test_a_bin_that_was_empty_counts_as_half_a_row() -> None:
    """So a new category has a finite index: a tenth of 200 rows against half a row of 1000."""
    index = statistics.stability_index(np.array([1000.0, 0.0]), np.array([0.9, 0.1]), 200)
    assert index == pytest.approx(-0.1 * np.log(0.9) + (0.1 - 0.0005) * np.log(0.1 / 0.0005))


def test_the_interval_of_a_rate_has_the_rate_in_it() -> None:
    """At the ends too, where rounding may leave the limit a bit away from it."""
    for count in range(1, 3000):
        assert statistics.wilson(0, count)[0] == 0
        assert statistics.wilson(count, count)[1] == 1


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ((36, 40), (16, 80), (4.5, 2.94, 7.15)),  # the example of Koopman's paper
        ((7, 34), (1, 34), (7.0, 1.22, 42.58)),
        ((0, 30), (5, 40), (0.0, 0.0, 0.953)),
        ((40, 40), (30, 30), (1.0, 40 / (40 + statistics.Z**2), (30 + statistics.Z**2) / 30)),  # by hand
    ],
)
def test_the_ratio_of_two_rates(own: tuple[int, int], other: tuple[int, int], expected: tuple[float, ...]) -> None:
    found = statistics.rate_ratio(*own, *other)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=0.005)


def test_the_ratio_is_katz_s_in_large_groups_and_turns_round() -> None:
    """The logarithm's standard error, and the same interval upside down for the other ratio."""
    found, back = (
        statistics.rate_ratio(3000, 10_000, 9000, 25_000),
        statistics.rate_ratio(9000, 25_000, 3000, 10_000),
    )
    spread = statistics.Z * np.sqrt(1 / 3000 - 1 / 10_000 + 1 / 9000 - 1 / 25_000)
    assert found is not None
    assert back is not None
    assert [found.low, found.high] == pytest.approx([30 / 36 * np.exp(-spread), 30 / 36 * np.exp(spread)], rel=5e-4)
    assert [1 / back.high, 1 / back.low] == pytest.approx([found.low, found.high], rel=1e-9)


def test_a_ratio_to_nothing_is_none_and_an_end_may_be_open() -> None:
    assert statistics.rate_ratio(3, 10, 0, 10) is None
    assert statistics.rate_ratio(0, 10, 0, 10) is None
    few = statistics.rate_ratio(3, 10, 1, 10**6)
    assert few is not None
    assert few.low > 1e4
    for hits in range(11):
        found = statistics.rate_ratio(hits, 10, 5, 10)
        assert found is not None
        assert 0 <= found.low <= found.value <= found.high < np.inf


@pytest.mark.parametrize(
    ("rows", "others", "rate", "other"), [(20, 60, 0.9, 0.95), (25, 40, 0.1, 0.15), (20, 20, 0.5, 0.8)]
)
def test_the_interval_of_a_ratio_covers_it_in_small_groups(rows: int, others: int, rate: float, other: float) -> None:
    """Computed exactly over all pairs of counts, not by drawing: at least 94 % of the time."""
    own, theirs = binom.pmf(np.arange(rows + 1), rows, rate), binom.pmf(np.arange(others + 1), others, other)
    covered = 0.0
    for hits in range(rows + 1):
        for other_hits in range(others + 1):
            if own[hits] * theirs[other_hits] > 1e-9:
                found = statistics.rate_ratio(hits, rows, other_hits, others)
                if found is None or found.low <= rate / other <= found.high:
                    covered += own[hits] * theirs[other_hits]
    assert covered > 0.94
