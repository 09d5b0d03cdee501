"""Tests of distributions, and the weights of samples, against values by hand and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import chdtrc
from scipy.stats import chi2_contingency, false_discovery_control

from services.monitoring.analysis import significance
from services.monitoring.log_reader.request_counts import quantile
from services.monitoring.log_reader.sampling import effective_rows


def test_the_test_of_homogeneity_is_pearsons() -> None:
    """As scipy's, without the correction for two by two; small expectations are taken together first."""
    before, after = np.array([500.0, 300.0, 200.0]), np.array([90.0, 70.0, 40.0])
    assert significance.homogeneity(before, after) == pytest.approx(
        chi2_contingency(np.stack([before, after]), correction=False).pvalue
    )
    rare = significance.homogeneity(np.array([500.0, 300.0, 6.0, 4.0]), np.array([90.0, 70.0, 0.0, 2.0]))
    assert rare == pytest.approx(chi2_contingency([[500.0, 300.0, 10.0], [90.0, 70.0, 2.0]], correction=False).pvalue)
    assert significance.homogeneity(before, before) == 1
    assert significance.homogeneity(before, np.zeros(3)) == 1


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 51, 1000])
def test_the_tail_of_chi_squared_is_scipys(degrees: int) -> None:
    """From where it is one to where it is nothing."""
    for value in (0.0, 1e-9, 0.5, 3.84, 40.0, degrees / 2, degrees, degrees * 1.2, 2000.0, 1e9):
        assert significance.chi_squared_tail(degrees, value) == pytest.approx(
            chdtrc(degrees, value), rel=1e-9, abs=1e-300
        )


def test_benjamini_and_hochberg_by_hand() -> None:
    """0.01, 0.02, 0.03 and 0.5 of four: times 4/1, 4/2, 4/3 and 1, made monotone from the largest down; as scipy's."""
    found = significance.benjamini_hochberg([0.02, 0.5, 0.01, 0.03])
    assert found == pytest.approx([0.04, 0.5, 0.04, 0.04])
    p = np.random.default_rng(1).random(25) ** 3
    assert significance.benjamini_hochberg(p.tolist()) == pytest.approx(false_discovery_control(p).tolist())
    assert significance.benjamini_hochberg([]) == []


def test_hours_weigh_what_their_rows_do() -> None:
    """Equal weights lose nothing; one in ten of a busy hour beside a whole quiet one is worth less than its rows."""
    assert effective_rows(np.ones(3), np.array([5.0, 10.0, 15.0])) == pytest.approx(30)
    assert effective_rows(np.array([10.0, 1.0]), np.array([100.0, 100.0])) == pytest.approx(1100**2 / 10100)


def test_quantiles_of_a_histogram_are_those_of_prometheus() -> None:
    """Evenly spread within a bucket; beyond the last edge there is nothing to tell."""
    uppers = [0.01, 0.1, float("inf")]
    assert quantile(0.5, uppers, [10, 20, 20]) == 10
    assert quantile(0.75, uppers, [10, 20, 20]) == pytest.approx(55)
    assert quantile(0.99, uppers, [10, 20, 40]) == 100
    assert quantile(0.5, uppers, [0, 0, 0]) is None
