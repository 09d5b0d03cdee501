"""Curves and surfaces: exactly what an additive model does, over the range that is worth showing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelbundle.explain.curves import CategoryCurve, Curves, NumberCurve, curves, in_order, steps, what_if
from modelbundle.explain.reasons import Reasons
from modelbundle.format.manifest import Golden, Manifest
from modelbundle.model import Model
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.additive import AdditiveScorer, LinearTerm, Pair
from modelbundle.scorers.base import Scorer, Value
from modelbundle.scorers.bins import CategoryBins, NumberBins
from modelbundle.scorers.trees import Questions, Trees, TreesScorer

SCHEMA = Schema(
    (
        Feature("amount", "number", True, observed=(0.0, 1e9), integer=True),
        Feature("grade", "category", True, categories=("A", "B")),
        Feature("rate", "number", False, observed=(0.0, 1.0)),
    )
)
REFERENCE: dict[str, Any] = {
    "features": {
        "amount": {"edges": [10.0, 30.0], "counts": [50, 30, 20], "missing": 0},
        "grade": {"categories": {"A": 60, "B": 30}, "other": 0, "missing": 10},
        "rate": {"edges": [0.2, 0.4, 0.6, 0.8], "counts": [20, 20, 20, 20, 0], "missing": 20},
    }
}
ROWS: list[list[Value]] = [[12.0, "A", 0.5], [25.0, "B", None], [40.0, "A", 0.1]]


def additive(pairs: bool = True) -> AdditiveScorer:
    scorer = AdditiveScorer(
        -1.0,
        [NumberBins(np.array([10.0, 20.0])), CategoryBins(("A", "B", "RARE")), NumberBins(np.empty(0))],
        [np.array([0.1, 0.2, 0.4, 0.8]), np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([0.0, 16.0])],
        [Pair((0, 1), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0, 0]), np.array([[32.0, 64.0], [128.0, 256.0]]))]
        if pairs
        else [],
        lines=[LinearTerm(2, 2.0, 0.5)],
    )
    scorer.fit_averages([np.array([12.0, 25.0, 40.0]), ["A", "B", "A"], np.array([0.5, np.nan, 0.1])])
    return scorer


def model(scorer: Scorer) -> Model:
    about = Manifest("m", "M", "late", (0, 1), SCHEMA, {"kind": scorer.kind}, {}, (), Golden((), ()), {})
    return Model("0" * 64, about, scorer, Reasons.from_words(SCHEMA, {}, {}))


@pytest.fixture
def drawn() -> Curves:
    return curves(model(additive()), REFERENCE)


def number(drawn: Curves, i: int) -> NumberCurve:
    curve = drawn.curves[i]
    assert isinstance(curve, NumberCurve)
    return curve


@pytest.mark.parametrize("amount", [-5.0, 9.99, 10.0, 15.0, 20.0, 1e6, None])
@pytest.mark.parametrize("rate", [0.0, 0.31, 0.999, None])
def test_without_pairs_the_curves_are_the_contributions(amount: float | None, rate: float | None) -> None:
    """The term of a table equals the contribution exactly, the term of a line up to rounding."""
    scorer = additive(pairs=False)
    drawn = curves(model(scorer), REFERENCE)
    expected = scorer.contributions_row([amount, "B", rate])
    assert number(drawn, 0).at(amount) == expected[0]
    assert number(drawn, 2).at(rate) == pytest.approx(expected[2], abs=1e-12)
    grades = drawn.curves[1]
    assert isinstance(grades, CategoryCurve)
    assert grades.terms[1] == expected[1]
    assert grades.missing == scorer.contributions_row([amount, None, rate])[1]
    assert grades.unknown == scorer.contributions_row([amount, "?", rate])[1]


def test_a_contribution_is_the_curve_and_half_of_each_surface(drawn: Curves) -> None:
    """Curves and surfaces together explain the whole score."""
    contributions = additive().contributions_row([25.0, "A", 0.5])
    surface = drawn.surfaces[0]
    assert surface.features == ("amount", "grade")
    row = surface.rows.edges.index(20.0)  # 25 is in the step from 20 on
    half = surface.terms[row, surface.columns.names.index("A")] / 2
    assert contributions[0] == pytest.approx(number(drawn, 0).at(25.0) + half)


def test_steps_of_a_surface_that_share_a_place_in_its_table_are_one(drawn: Curves) -> None:
    """The pair's bins are coarser than the feature's, so amounts below 10 and from 10 to 20 share a row."""
    surface = drawn.surfaces[0]
    assert surface.rows.edges[1:-1] == (20.0,)
    assert surface.terms.shape == (2, 2)


def test_the_shown_range_leaves_out_the_far_tail(drawn: Curves) -> None:
    """An amount of a billion does not hide the steps between 10 and 20."""
    curve = number(drawn, 0)
    assert curve.edges[0] == 0.0
    assert curve.edges[-1] == 50.0  # the last decile, and the deciles' width once more


def test_rare_categories_are_not_named(drawn: Curves) -> None:
    """A label that the scorer has and the schema does not name is not shown, because it could identify a person."""
    grades = drawn.curves[1]
    assert isinstance(grades, CategoryCurve)
    assert grades.names == ("A", "B")
    assert grades.shares == (0.6, 0.3)


def test_the_density_is_the_share_of_training_rows(drawn: Curves) -> None:
    """Bins of whole numbers end half a unit later, narrow bins are merged, and no row is lost."""
    density = number(drawn, 0).density
    assert density is not None
    assert density.edges == (0.0, 10.5, 30.5, 50.0)
    assert density.shares == pytest.approx((0.5, 0.3, 0.2))
    assert max(density.heights()) == 1.0
    narrow = {"features": {"rate": {"edges": [0.2, 0.2001, 0.6], "counts": [10, 40, 25, 25], "missing": 0}}}
    merged = number(curves(model(additive()), narrow), 2).density
    assert merged is not None
    assert merged.edges == (0.0, 0.2, 0.6, 1.0)
    assert merged.shares == pytest.approx((0.1, 0.65, 0.25))


def test_the_size_is_the_mean_absolute_term_over_the_training_rows(drawn: Curves) -> None:
    """Missing values count with their term."""
    grades = drawn.curves[1]
    assert isinstance(grades, CategoryCurve)
    expected = 0.6 * abs(grades.terms[0]) + 0.3 * abs(grades.terms[1]) + 0.1 * abs(grades.missing)
    assert grades.size == pytest.approx(expected)
    amount = number(drawn, 0)
    below_10, below_20, above = (abs(start) for start in amount.starts)
    first = 0.5 * 10 / 10.5  # of the half of the rows that are below 10.5, taken as even
    second = 0.5 - first + 0.3 * 9.5 / 20
    assert amount.size == pytest.approx(first * below_10 + second * below_20 + (1 - first - second) * above)


@pytest.mark.parametrize("reference", [{}, {"features": {}}])
def test_without_a_reference_there_are_curves_but_no_density(reference: dict[str, Any]) -> None:
    """The shown range is where the term changes."""
    drawn = curves(model(additive()), reference)
    assert number(drawn, 0).edges == (9.5, 10.0, 20.0, 20.5)
    assert [getattr(curve, "size", 0) for curve in drawn.curves] == [None, None, None]
    assert number(drawn, 0).density is None


def test_a_model_that_is_not_additive_has_no_curves() -> None:
    """Only an additive model has curves; what-if works for every model."""
    trees = TreesScorer(
        0.5,
        "logit",
        [
            Questions(NumberBins(np.empty(0)), np.zeros((2, 0), dtype=np.uint8)),
            Questions(CategoryBins(("A",)), np.zeros((3, 0), dtype=np.uint8)),
            Questions(NumberBins(np.empty(0)), np.zeros((2, 0), dtype=np.uint8)),
        ],
        Trees(
            np.array([0], dtype=np.int32),
            np.array([0, 0, 0], dtype=np.int32),
            np.array([10.0, 0.0, 0.0]),
            np.array([[1, 2], [1, 1], [2, 2]], dtype=np.int32),
            np.array([0.0, 1.0, 2.0]),
        ),
    )
    asked = model(trees)
    assert curves(asked, REFERENCE) == Curves()
    below, above = what_if(asked, ROWS[0], "amount", [9.0, 10.0])
    assert below == asked.answer([9.0, "A", 0.5]).predict_proba[1] < above


def test_what_if_is_what_the_model_answers() -> None:
    """What-if varies one feature and gives the same bits as a request for each row."""
    asked = model(additive())
    values = steps(SCHEMA.features[0], curves(asked, REFERENCE).curves[0], REFERENCE)
    found = what_if(asked, ROWS[0], "amount", values)
    assert found == [asked.answer([value, *ROWS[0][1:]]).predict_proba[1] for value in values]
    assert what_if(asked, ROWS[0], "grade", ["A", None, "?"]) == [
        asked.answer([ROWS[0][0], grade, ROWS[0][2]]).predict_proba[1] for grade in ("A", None, "?")
    ]


def test_the_steps_show_both_sides_of_every_jump(drawn: Curves) -> None:
    """The steps of a curve are its ends and, at each cut, the last value below it and the cut itself."""
    values = steps(SCHEMA.features[0], drawn.curves[0], REFERENCE)
    assert values == [0.0, float(np.nextafter(10.0, 0)), 10.0, float(np.nextafter(20.0, 0)), 20.0, 50.0]
    assert steps(SCHEMA.features[1], drawn.curves[1], REFERENCE) == ["A", "B"]


@pytest.mark.parametrize(
    ("feature", "check"),
    [
        (Feature("n", "number", False), lambda values: len(values) == 60 and values[0] == -0.5),
        (Feature("n", "number", False, observed=(3.0, 3.0)), lambda values: values[0] == 2.5 and values[-1] == 3.5),
        (
            Feature("n", "number", False, observed=(0.0, 4.0), integer=True),
            lambda values: values == [0.0, 1.0, 2.0, 3.0, 4.0],
        ),
    ],
)
def test_without_a_curve_the_steps_are_even(feature: Feature, check: Callable[[list[Value]], bool]) -> None:
    """The steps are evenly spaced over the range seen in training, and whole where all its values are."""
    assert check(steps(feature, None, {}))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1 year", "10+ years", "2 years", "< 1 year"], ["< 1 year", "1 year", "2 years", "10+ years"]),
        (["RENT", "OWN"], ["RENT", "OWN"]),
        ([], []),
    ],
)
def test_categories_with_numbers_are_listed_by_them(names: list[str], expected: list[str]) -> None:
    """Categories with numbers are ordered by the number; others keep the schema's order."""
    assert in_order(names) == expected
