"""The figures by which models are chosen agree with hand-computed cases and with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from late_payers import evaluation

LABELS = np.array([0, 0, 1, 0, 1, 0, 0, 1, 0, 0])
SCORES = np.array([0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.05, 0.9, 0.15, 0.25])


@pytest.fixture(scope="module")
def book() -> tuple[evaluation.Labels, evaluation.Floats]:
    """Four thousand loans whose outcomes follow their probabilities exactly, some probabilities tied."""
    rng = np.random.default_rng(11)
    probabilities = np.round(1 / (1 + np.exp(-rng.normal(-2.5, 1.0, 4000))), 3) + 0.0005
    return (rng.random(4000) < probabilities).astype(np.int64), probabilities


def test_roc_auc_counts_pairs() -> None:
    """The ROC-AUC is the share of (late, on time) pairs in the right order, ties counting half."""
    right = 0.0
    for late in SCORES[LABELS == 1]:
        for other in SCORES[LABELS == 0]:
            right += 1.0 if late > other else 0.5 if late == other else 0.0
    assert evaluation.roc_auc(LABELS, SCORES) == pytest.approx(right / 21, abs=1e-12)


def test_roc_auc_needs_both_labels() -> None:
    """One label alone has no ROC."""
    with pytest.raises(ValueError, match="both labels"):
        evaluation.roc_auc(np.zeros(3, dtype=np.int64), np.arange(3.0))


def test_roc_auc_agrees_with_scikit_learn(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """Value and DeLong's centre are scikit-learn's ROC-AUC, with ties."""
    expected = roc_auc_score(*book)
    assert evaluation.roc_auc(*book) == pytest.approx(expected, abs=1e-12)
    assert evaluation.roc_auc_interval(*book).value == pytest.approx(expected, abs=1e-12)


def test_delong_agrees_with_the_bootstrap(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """DeLong's interval and the bootstrap's are of the same width to a fifth."""
    delong = evaluation.roc_auc_interval(*book)
    drawn = evaluation.bootstrap(*book, names=("roc_auc",), rounds=300)["roc_auc"]
    assert (delong.high - delong.low) / (drawn.high - drawn.low) == pytest.approx(1, abs=0.2)
    assert drawn.low < delong.value < drawn.high


def test_difference_of_a_model_with_itself_is_zero(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """A model is no better than itself, and without any doubt; scores scaled monotonically rank the same."""
    labels, p = book
    same = evaluation.roc_auc_difference(labels, p, 3 * p + 1)
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_difference_finds_the_better_model(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """A model spoiled with noise is worse, by the difference of the two ROC-AUCs."""
    labels, p = book
    spoiled = p + np.random.default_rng(5).normal(0, 0.2, len(p))
    difference = evaluation.roc_auc_difference(labels, p, spoiled)
    assert difference.value == pytest.approx(roc_auc_score(labels, p) - roc_auc_score(labels, spoiled), abs=1e-12)
    assert difference.low > 0


def test_ks_by_hand() -> None:
    """At 0.25 five of the seven loans on time are passed and none of the late ones: the largest distance."""
    on_time = np.sort(SCORES[LABELS == 0])
    assert (on_time <= 0.25).sum() == 5
    assert evaluation.kolmogorov_smirnov(LABELS, SCORES) == pytest.approx(5 / 7, abs=1e-12)


def test_ks_is_the_widest_gap_of_the_roc(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """KS is the largest difference between the true and the false positive rate."""
    false, true, _ = roc_curve(*book)
    assert evaluation.kolmogorov_smirnov(*book) == pytest.approx((true - false).max(), abs=1e-12)


def test_lift_by_hand() -> None:
    """The top tenth of ten loans is one loan, it is late, and three in ten are: the lift is 10/3."""
    assert evaluation.lift(LABELS, SCORES) == pytest.approx(10 / 3)


def test_lift_counts_ties_in_proportion() -> None:
    """When all loans tie, the top is no better than the rest, in whatever order the rows come."""
    assert evaluation.lift(LABELS, np.ones(10), share=0.3) == pytest.approx(1.0)
    assert evaluation.lift(LABELS[::-1], np.ones(10), share=0.3) == pytest.approx(1.0)


def test_calibration_line_agrees_with_logistic_regression(
    book: tuple[evaluation.Labels, evaluation.Floats],
) -> None:
    """Slope and intercept are those of an unpenalised logistic regression on the log-odds."""
    labels, p = book
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(np.log(p / (1 - p))[:, None], labels)
    intercept, slope = evaluation.calibration_line(labels, p)
    assert slope == pytest.approx(reference.coef_[0, 0], abs=1e-5)
    assert intercept == pytest.approx(reference.intercept_[0], abs=1e-5)


def test_calibration_line_of_distorted_probabilities(
    book: tuple[evaluation.Labels, evaluation.Floats],
) -> None:
    """Log-odds doubled and shifted by 1 give half the slope and the intercept that undoes the shift."""
    labels, p = book
    intercept, slope = evaluation.calibration_line(labels, p)
    distorted = 1 / (1 + np.exp(-(2 * np.log(p / (1 - p)) + 1)))
    assert evaluation.calibration_line(labels, distorted) == pytest.approx((intercept - slope / 2, slope / 2), abs=1e-6)


def test_calibration_line_needs_a_spread() -> None:
    """A constant probability has no slope."""
    with pytest.raises(ValueError, match="slope"):
        evaluation.calibration_line(LABELS, np.full(10, 0.3))


def test_calibration_curve_covers_every_loan_once() -> None:
    """Groups are of equal size, rise in probability, and together hold every loan."""
    curve = evaluation.calibration_curve(LABELS, SCORES, bins=5)
    assert [point.count for point in curve] == [2, 2, 2, 2, 2]
    assert [point.observed for point in curve] == [0, 0, 0.5, 0.5, 0.5]
    assert [point.predicted for point in curve] == pytest.approx([0.075, 0.175, 0.275, 0.35, 0.7])


def test_expected_calibration_error_by_hand() -> None:
    """With two groups it is the mean of the two distances between predicted and observed rate."""
    p = np.array([0.1, 0.1, 0.4, 0.4])
    labels = np.array([0, 0, 1, 0])
    assert evaluation.expected_calibration_error(labels, p, bins=2) == pytest.approx((0.1 + 0.1) / 2)


def test_wilson_by_hand() -> None:
    """No late loan in ten still allows for a rate of 28 %; Wilson (1927), z = 1.96."""
    assert evaluation.wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_stability_index_by_hand() -> None:
    """Shares that move from (1/2, 1/2) to (3/4, 1/4) give 1/4 ln(3/2) + 1/4 ln 2."""
    before, after = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])
    expected = 0.25 * np.log(1.5) + 0.25 * np.log(2)
    assert evaluation.stability_index(before, after, bins=2) == pytest.approx(expected)


def test_stability_index_of_nothing_changed(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """The same scores are perfectly stable, and an empty group is no division by zero."""
    _, p = book
    assert evaluation.stability_index(p, p) == pytest.approx(0, abs=1e-12)
    assert np.isfinite(evaluation.stability_index(p, p[p > 0.5]))


def test_evaluate_names_every_figure(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """The summary has every statistic, and each bootstrap interval holds its value's neighbourhood in order."""
    figures = evaluation.evaluate(*book)
    intervals = evaluation.bootstrap(*book, rounds=40, seed=3)
    assert set(figures) == set(intervals) == set(evaluation.STATISTICS)
    for name, estimate in intervals.items():
        assert estimate.value == figures[name]
        assert estimate.low < estimate.high


def test_bootstrap_is_seeded(book: tuple[evaluation.Labels, evaluation.Floats]) -> None:
    """The same seed gives the same interval, another seed another."""
    first, again, other = (evaluation.bootstrap(*book, names=("ks",), rounds=20, seed=s)["ks"] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_metrics_are_json_values() -> None:
    """A manifest gets plain rounded numbers."""
    metrics = evaluation.as_metrics({"roc_auc": evaluation.Estimate(0.72345678, 0.71, 0.73)})
    assert metrics == {"roc_auc": {"value": 0.723457, "low": 0.71, "high": 0.73}}
