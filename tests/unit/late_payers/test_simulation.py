"""The stand-in book: the real one's shape, from published statistics alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from late_payers import simulation
from late_payers.features import CATEGORIES, COLUMNS, GRADES, TARGET

ROWS = 40_000


@pytest.fixture(scope="module")
def quarter() -> object:
    return simulation.simulate(ROWS, simulation.SEED)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """The same seed gives the same loans, another seed gives others."""
    first, again, other = (simulation.simulate(2000, seed).to_csv() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_stated_facts_hold(quarter) -> None:  # type: ignore[no-untyped-def]
    """The stand-in has the columns, categories, missing values, late rate and risk by grade of the original."""
    assert list(quarter.columns) == [*COLUMNS, TARGET]
    assert quarter[TARGET].mean() == pytest.approx(0.0221, abs=0.003)
    assert quarter["emp_length"].isna().mean() == pytest.approx(0.07, abs=0.01)
    assert 0 < quarter["revol_util"].isna().mean() < 0.003
    assert quarter["int_rate"].between(0, 1).all()
    assert (quarter[["loan_amnt", "annual_inc", "dti", "delinq_2yrs"]] >= 0).all().all()
    late = quarter.groupby("grade")[TARGET].mean()
    assert late["A"] < late["B"] < late["C"] < late["D"] < late["E"]
    rates = quarter.groupby("grade")["int_rate"].mean()[list(GRADES[:5])]
    assert (np.diff(rates) > 0).all()
    assert quarter["loan_amnt"].corr(quarter["annual_inc"], method="spearman") == pytest.approx(0.47, abs=0.05)


def test_the_following_quarter_is_late_less_often() -> None:
    """The late rate of the following quarter is about 1.4 %, as in the original's sample."""
    after = simulation.simulate(ROWS, 3, shift=simulation.TEST_SHIFT)
    assert after[TARGET].mean() == pytest.approx(0.0140, abs=0.0025)


def test_what_is_late_can_be_learned_about_as_well_as_from_the_original(quarter) -> None:  # type: ignore[no-untyped-def]
    """The drawing model itself ranks with a ROC-AUC near 0.72."""
    score = simulation.log_odds(simulation.statistics(), quarter)
    assert roc_auc_score(quarter[TARGET], score) == pytest.approx(0.72, abs=0.02)


def test_no_statistic_rests_on_fewer_than_twenty_loans() -> None:
    """Rare categories are in none of the tables."""
    facts = simulation.statistics()
    assert "ANY" not in facts["given_income"]["home_ownership"]["values"]
    assert set(facts["late"]["categories"]) == set(CATEGORIES)


def test_measuring_the_stand_in_gives_back_its_statistics(quarter) -> None:  # type: ignore[no-untyped-def]
    """Measuring simulated loans gives the statistics from which they are simulated."""
    again, facts = simulation.measure(quarter), simulation.statistics()
    assert np.allclose(again["correlation"], facts["correlation"], atol=0.08)
    assert again["late_rate"] == pytest.approx(facts["late_rate"], abs=0.003)
