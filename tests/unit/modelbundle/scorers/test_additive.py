"""The additive scorer: look-ups, lines and pairs, one row or many, and contributions that add up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbundle.errors import FormatError
from modelbundle.golden import columns
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.additive import AdditiveScorer, LinearTerm, Pair
from modelbundle.scorers.base import Value
from modelbundle.scorers.bins import CategoryBins, NumberBins

SCHEMA = Schema(
    (Feature("amount", "number", False), Feature("grade", "category", False), Feature("rate", "number", False))
)
VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([10.0, 20.0, 0.5])
LABELS = st.none() | st.sampled_from(["A", "B", "Z", "a", ""])
ROWS = st.lists(st.tuples(VALUES, LABELS, VALUES), min_size=1, max_size=20)


def scorer() -> AdditiveScorer:
    """Three features, a line on the rate, and a pair with a coarser amount."""
    return AdditiveScorer(
        -1.0,
        [NumberBins(np.array([10.0, 20.0])), CategoryBins(("A", "B")), NumberBins(np.empty(0))],
        [np.array([0.1, 0.2, 0.4, 0.8]), np.array([1.0, 2.0, 4.0, 8.0]), np.array([0.0, 16.0])],
        [Pair((0, 1), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]), np.array([[32.0, 64.0], [128.0, 256.0]]))],
        lines=[LinearTerm(2, 2.0, 0.5)],
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((9.999, "A", 0.5), -1 + 0.1 + 1 + 0 + 32),
        ((10.0, "A", 0.5), -1 + 0.2 + 1 + 0 + 32),
        ((20.0, "B", 1.5), -1 + 0.4 + 2 + 2 + 256),
        ((None, "Z", None), -1 + 0.8 + 8 + 16 + 128),
        ((-1e308, None, 0.5), -1 + 0.1 + 4 + 64),
    ],
)
def test_a_score_is_the_sum_of_what_the_values_look_up(row: tuple[Value, ...], expected: float) -> None:
    """A value on a cut is above it; missing and unknown values have entries of their own; a pair may be coarser."""
    assert scorer().score_row(row) == pytest.approx(expected, rel=1e-12)


@given(ROWS)
def test_rows_and_columns_give_the_same_bits(rows: list[tuple[Value, ...]]) -> None:
    """Score and contributions of a row are the same by itself and among others, and always finite."""
    model = scorer()
    model.fit_averages(columns(SCHEMA, [(12.0, "A", 0.7), (25.0, "B", None), (None, None, 0.1)]))
    together, terms = model.score_columns(columns(SCHEMA, rows)), model.contributions_columns(columns(SCHEMA, rows))
    for row, score, contributions in zip(rows, together.tolist(), terms.tolist(), strict=True):
        assert model.score_row(row) == score
        assert model.explain_row(row) == (score, contributions)
        assert model.contributions_row(row) == contributions
        assert all(map(math.isfinite, (score, *contributions)))


@given(ROWS)
def test_baseline_and_contributions_are_the_score(rows: list[tuple[Value, ...]]) -> None:
    """They add up to 1e-9, relative to the largest of them."""
    model = scorer()
    model.fit_averages(columns(SCHEMA, [(12.0, "A", 0.7), (25.0, "B", None), (None, None, 0.1)]))
    for row in rows:
        score, contributions = model.explain_row(row)
        assert math.fsum([model.baseline, *contributions]) == pytest.approx(score, rel=1e-9, abs=1e-9)


def test_contributions_are_against_the_average_training_row() -> None:
    """Over the training rows every feature's contributions average to 0, and the baseline is the mean score."""
    model = scorer()
    training = columns(SCHEMA, [(12.0, "A", 0.7), (25.0, "B", None), (None, None, 0.1), (5.0, "A", 9.0)])
    model.fit_averages(training)
    assert np.abs(model.contributions_columns(training).mean(axis=0)).max() < 1e-12
    assert model.baseline == pytest.approx(model.score_columns(training).mean(), rel=1e-12)


def test_a_pair_is_shared_equally() -> None:
    """Half of a pair's contribution goes to each of its features."""
    model = AdditiveScorer(
        0.0,
        [NumberBins(np.array([1.0])), NumberBins(np.array([1.0]))],
        [np.zeros(3), np.zeros(3)],
        [Pair((0, 1), np.array([0, 1, 0]), np.array([0, 1, 0]), np.array([[0.0, 2.0], [4.0, 6.0]]))],
        averages=[0.0, 0.0, 1.0],
    )
    assert model.explain_row([2.0, 0.0]) == (4.0, [1.5, 1.5])


def test_parts_make_an_equal_scorer() -> None:
    """What is stored has plain little-endian types, and what is read from it gives the same bits."""
    model = scorer()
    model.fit_averages(columns(SCHEMA, [(12.0, "A", 0.7), (25.0, "B", None)]))
    header, arrays = model.to_parts()
    again = AdditiveScorer.from_parts(header, arrays, SCHEMA)
    rows: list[tuple[Value, ...]] = [(10.0, "A", 0.1), (None, None, None), (1e9, "Z", -3.0)]
    assert {array.dtype.str for array in arrays.values()} <= {"<f8", "<i8"}
    assert again.baseline == model.baseline
    assert (
        again.contributions_columns(columns(SCHEMA, rows)).tolist()
        == model.contributions_columns(columns(SCHEMA, rows)).tolist()
    )
    assert again.score_columns(columns(SCHEMA, rows)).tolist() == model.score_columns(columns(SCHEMA, rows)).tolist()


_NUMBER = {"kind": "number"}


def _broken() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By what is wrong: changes of the header and of the arrays."""
    nan = float("nan")
    return {
        "a header without features": ({"features": None}, {}),
        "too few features": ({"features": [{"kind": "number"}]}, {}),
        "bins of another kind": ({"features": [{"kind": "category", "labels": []}] * 3}, {}),
        "labels that are numbers": ({"features": [_NUMBER, {"kind": "category", "labels": [1, 2]}, _NUMBER]}, {}),
        "labels twice": ({"features": [_NUMBER, {"kind": "category", "labels": ["A", "A"]}, _NUMBER]}, {}),
        "an infinite intercept": ({"intercept": float("inf")}, {}),
        "a truth value for a number": ({"intercept": True}, {}),
        "an average too few": ({"averages": [0.0] * 4}, {}),
        "an average that is no number": ({"averages": [nan] * 5}, {}),
        "a line on a category": ({"lines": [[1, 1.0, 0.0]]}, {}),
        "a line from far away": ({"lines": [[2, 1.0, 1e299]]}, {}),
        "a pair out of bounds": ({"pairs": [[0, 3]]}, {}),
        "a pair of one": ({"pairs": [[0]]}, {}),
        "a negative feature": ({"pairs": [[0, -1]]}, {}),
        "cuts that descend": ({}, {"cuts_0": np.array([20.0, 10.0])}),
        "cuts that repeat": ({}, {"cuts_0": np.array([10.0, 10.0])}),
        "a cut that is no number": ({}, {"cuts_0": np.array([10.0, nan])}),
        "a table too short": ({}, {"table_0": np.zeros(3)}),
        "a table of other numbers": ({}, {"table_0": np.zeros(4, dtype=np.float32)}),
        "a table with an infinity": ({}, {"table_0": np.array([0.0, 0.0, np.inf, 0.0])}),
        "an index beyond the table": ({}, {"left_0": np.array([0, 0, 2, 1])}),
        "a negative index": ({}, {"left_0": np.array([0, 0, -1, 1])}),
        "indices of another type": ({}, {"left_0": np.zeros(4)}),
        "a pair without a table": ({}, {"pair_0": np.zeros(4)}),
        "an array that nobody asked for": ({}, {"more": np.zeros(1)}),
        "a missing array": ({}, {"table_2": None}),
    }  # fmt: skip


@pytest.mark.parametrize("what", _broken())
def test_parts_that_are_not_as_they_say_are_refused(what: str) -> None:
    """Damage is found when loading, not when answering."""
    header, arrays = scorer().to_parts()
    changed, replaced = _broken()[what]
    merged = {name: array for name, array in {**arrays, **replaced}.items() if array is not None}
    with pytest.raises(FormatError):
        AdditiveScorer.from_parts({**header, **changed}, merged, SCHEMA)
