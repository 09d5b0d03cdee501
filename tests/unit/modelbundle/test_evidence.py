"""Evidence that is looked at after every row: exact by enumeration, the same in pages, and rarely wrong."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from modelbundle.evidence import BOUND, POINTS, SHARES, TARGET, Calibration, Evidence, log_loss_differences


def made(differences: np.typing.ArrayLike, bound: float = BOUND) -> Evidence:
    evidence = Evidence(bound)
    evidence.update(np.asarray(differences, dtype=float))
    return evidence


def test_it_is_a_fair_game_under_the_hypothesis() -> None:
    """The expected e-value over all sequences is 1 where the mean is 0, in both directions, and less where it is below."""
    lose, win, chance = -0.25, 0.75, 0.25  # the mean is 0
    expected = np.zeros(2)
    for ends in itertools.product([0, 1], repeat=8):
        probability = np.prod([chance if end else 1 - chance for end in ends])
        evidence = made([win if end else lose for end in ends])
        expected += probability * np.exp([evidence.log_positive, evidence.log_negative])
    assert expected == pytest.approx([1, 1], abs=1e-12)
    below = sum(
        np.prod([0.2 if end else 0.8 for end in ends])
        * np.exp(made([win if end else lose for end in ends]).log_positive)
        for ends in itertools.product([0, 1], repeat=6)
    )
    assert below < 1


def test_the_wealth_of_a_bettor_by_hand() -> None:
    """Two rows: the mean over the shares of (1 + share * 0.5)(1 - share * 0.2)."""
    evidence = made([0.5, -0.2], 1.0)
    assert np.exp(evidence.log_positive) == pytest.approx(np.mean((1 + 0.5 * SHARES) * (1 - 0.2 * SHARES)), rel=1e-14)
    assert np.exp(evidence.log_negative) == pytest.approx(np.mean((1 - 0.5 * SHARES) * (1 + 0.2 * SHARES)), rel=1e-14)
    assert made([5, -2], bound=10).log_positive == pytest.approx(evidence.log_positive, rel=1e-14)


def test_the_interval_is_where_the_wealth_would_be_enough() -> None:
    """At its ends, the mean over the shares of prod(1 + share * d) * exp(-share * n * mean) is 2 / alpha."""
    rows = np.random.default_rng(3).uniform(-0.3, 0.5, 400)
    low, high = made(rows, 1.0).interval()
    for mean, sign in ((low, 1), (high, -1)):
        wealth = np.prod(1 + SHARES[:, None] * sign * rows, axis=1) * np.exp(-SHARES * sign * len(rows) * mean)
        assert wealth.mean() == pytest.approx(40, rel=1e-9)
    assert low < rows.mean() < high
    assert Evidence(3.0).interval() == (-3.0, 3.0)


def test_the_interval_leaves_nothing_out_when_the_evidence_is_forty() -> None:
    """Both are from the same wealth: 0 is outside exactly where either e-value is above 2 / alpha."""
    rng = np.random.default_rng(5)
    for mean in (-0.1, 0.0, 0.1):
        evidence = Evidence(1.0)
        for rows in np.split(rng.uniform(-0.9, 0.9, 500) + mean, 50):
            evidence.update(rows)
            low, high = evidence.interval()
            assert (low > 0 or high < 0) == (max(evidence.log_positive, evidence.log_negative) > np.log(40))


@pytest.mark.parametrize("sizes", [[1] * 700, [700], [3, 0, 290, 7, 400]])
def test_pages_do_not_matter(sizes: list[int]) -> None:
    """Row by row, all at once, and after another process went on: the same bits, and the same path."""
    rows = np.random.default_rng(1).uniform(-1, 1, 700)
    times = [f"t{k}" for k in range(700)]
    whole, paged, start = Evidence(), Evidence(), 0
    whole.update(rows, times)
    for size in sizes:
        paged = pickle.loads(pickle.dumps(paged))
        paged.update(rows[start : start + size], times[start : start + size])
        start += size
    assert paged.to_json() == whole.to_json()
    assert 0 < len(whole.path) <= POINTS
    assert whole.path[-1][1] > 650


def test_it_rarely_errs_however_often_one_looks() -> None:
    """400 streams without a difference, looked at after each of 2,000 rows."""
    rng = np.random.default_rng(0)
    most, outside = [], 0
    for _ in range(400):
        truth = rng.beta(1, 40, 2000)
        labels = (rng.random(2000) < truth).astype(np.int64)
        first, second = (np.clip(truth * np.exp(rng.normal(0, 0.3, 2000)), 0, 1) for _ in range(2))
        evidence = made(log_loss_differences(labels, first, second))
        most.append(max(max(point[2], point[3]) for point in evidence.path))
        low, high = evidence.interval()
        outside += not low <= 0 <= high
    assert np.mean(np.array(most) >= np.log(2 * TARGET)) <= 0.05  # either of two e-values
    assert outside / 400 <= 0.05


def test_a_difference_is_found_and_is_the_other_ones_loss() -> None:
    """A model that knows the truth against one that always says the base rate."""
    rng = np.random.default_rng(0)
    truth = rng.beta(1, 40, 20_000)
    labels = (rng.random(20_000) < truth).astype(np.int64)
    base = np.full(20_000, truth.mean())
    better, worse = (made(log_loss_differences(labels, *pair)) for pair in ((base, truth), (truth, base)))
    assert better.log_positive > np.log(TARGET)
    assert better.log_negative < 0
    assert better.log_positive == pytest.approx(worse.log_negative, rel=1e-12)
    assert better.interval()[0] > 0
    assert better.more(better.log_positive) == 0
    assert better.more(better.log_negative) is None
    assert better.more(1.0) == round(20_000 * (np.log(TARGET) - 1))


def test_log_losses_are_scaled_by_what_is_known_before_the_outcome() -> None:
    """Within the bound they are themselves; beyond it both ends shrink alike, also of a model that is sure and wrong."""
    labels = np.array([1, 0, 1, 0, 1])
    first = np.array([0.5, 0.1, 0.02, 0.02, 0.0])
    second = np.array([0.6, 0.1, 1e-6, 1e-6, 0.0])
    found = log_loss_differences(labels, first, second)
    much = np.log(1e-6 / 0.02)
    little = np.log((1 - 1e-6) / (1 - 0.02))
    assert found == pytest.approx([np.log(0.6 / 0.5), 0, -BOUND, little * BOUND / -much, 0])


def test_a_challenger_that_is_seldom_and_very_wrong_has_no_evidence() -> None:
    """It gains a little on each of many rows, and loses far more on few: cutting losses off would let it win."""
    rng = np.random.default_rng(0)
    won = 0
    for _ in range(100):
        labels = (rng.random(5000) < 0.014).astype(np.int64)
        evidence = made(log_loss_differences(labels, np.full(5000, 0.022), np.full(5000, 1e-6)))
        won += any(point[2] >= np.log(TARGET) for point in evidence.path)
    assert won <= 5


def test_calibration_is_about_predicted_and_observed() -> None:
    """Twice as many predicted as came: evidence for too many, and an interval of the ratio around two."""
    rng = np.random.default_rng(0)
    probabilities = rng.beta(1, 20, 8000)
    labels = (rng.random(8000) < probabilities / 2).astype(np.int64)
    evidence = Calibration()
    evidence.observe(labels[:3000], probabilities[:3000])
    evidence.observe(labels[3000:], probabilities[3000:])
    assert evidence.log_positive > np.log(TARGET)
    assert evidence.log_negative < 0
    low, high = evidence.ratio()
    assert high is not None
    assert 1 < low < probabilities.sum() / labels.sum() < high
    right = Calibration()
    right.observe((rng.random(8000) < probabilities).astype(np.int64), probabilities)
    low, high = right.ratio()
    assert high is not None
    assert low < 1 < high
    assert Calibration().ratio() == (0.0, None)


@pytest.mark.parametrize(("rows", "times"), [([np.nan], None), ([2.5], None), ([0.5], [])])
def test_what_cannot_be_bet_on_is_refused(rows: list[float], times: list[str] | None) -> None:
    """Nothing is added then."""
    evidence = Evidence()
    with pytest.raises(ValueError, match="difference"):
        evidence.update(np.array(rows), times)
    assert evidence.rows == 0
