"""Where a pipeline's arithmetic changes its mind, in raw values, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbundle.publishing.compiling.encoding import NotSupported, Number, Steps
from modelbundle.publishing.compiling.terms import union
from modelbundle.schema import LARGEST, Feature
from modelbundle.scorers.bins import CategoryBins, NumberBins

FINITE = st.floats(allow_nan=False, allow_infinity=False)
CHAINS = st.sampled_from(
    [
        (),
        (("subtract", 0.1), ("divide", 0.3)),
        (("fill", 7.0), ("multiply", 1e-3), ("add", 1 / 3)),
        (("subtract", 12345.678), ("divide", 1e5), ("maximum", 0.0), ("minimum", 1.0)),
    ]
)


@given(CHAINS, FINITE, st.booleans())
def test_a_crossing_is_exact(chain: tuple[tuple[str, float], ...], threshold: float, narrow: bool) -> None:
    """The first value that reaches a condition does so, and the value just below it does not."""
    number = Number(0, chain)

    def above(values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return (values.astype(np.float32).astype(float) if narrow else values) > threshold

    first = number.first(above, 1)[0]
    if np.isfinite(first):
        assert above(number.at(np.array([first])))[0]
    if first > -LARGEST:
        below = np.nextafter(first, -np.inf)
        assert not above(number.at(np.array([below])))[0]


def test_a_cut_takes_the_cast_of_trees_along() -> None:
    """Between the threshold and the next float32 the cast decides, half-way values going to the even one."""
    threshold = np.float64(np.float32(0.1))
    first = Number(0).first(lambda v: v.astype(np.float32) > threshold, 1)[0]
    halfway = (threshold + np.float64(np.nextafter(np.float32(0.1), np.float32(1)))) / 2
    assert threshold < first
    assert abs(first - halfway) <= np.spacing(halfway)


@given(st.lists(FINITE, min_size=1, max_size=8), CHAINS, st.lists(FINITE, min_size=1, max_size=8))
def test_steps_keep_the_order_relative_to_their_points(
    points: list[float], chain: tuple[tuple[str, float], ...], values: list[float]
) -> None:
    """A number and its stand-in are both below, on or above each point."""
    number = Number(0, chain)
    steps = number.steps(np.array(points))
    raw = np.array(values)
    stand_in = steps.values[steps.bins.indices(raw)]
    for point in points:
        assert ((number.at(raw) >= point) == (stand_in >= point)).all()
        assert ((number.at(raw) > point) == (stand_in > point)).all()


def test_missing_values_go_through_the_chain() -> None:
    """A filled number has a value where it is missing; one that is not filled stays missing."""
    assert Number(0, (("fill", 7.0), ("subtract", 2.0))).at(np.array([np.nan])).tolist() == [5.0]
    assert np.isnan(Number(0, (("subtract", 2.0),)).at(np.array([np.nan]))[0])
    assert Steps(0, NumberBins(np.empty(0)), np.array([1.0, np.nan])).then("fill", 3.0).values.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("operation", ["multiply", "divide"])
def test_a_falling_chain_is_not_supported(operation: str) -> None:
    """Only positive factors keep the order of values, which the compiler needs."""
    with pytest.raises(NotSupported):
        Number(0).then(operation, -1.0)


def test_common_bins_remember_the_place_in_each() -> None:
    """The union of cuts or labels is as fine as each of them, and maps to the bins of each."""
    number, category = Feature("n", "number", False), Feature("c", "category", False)
    bins, places = union(number, [NumberBins(np.array([1.0, 3.0])), NumberBins(np.array([2.0]))])
    assert isinstance(bins, NumberBins)
    assert bins.cuts.tolist() == [1.0, 2.0, 3.0]
    assert [p.tolist() for p in places] == [[0, 1, 1, 2, 3], [0, 0, 1, 1, 2]]
    bins, places = union(category, [CategoryBins(("b",)), CategoryBins(("a", "c"))])
    assert isinstance(bins, CategoryBins)
    assert bins.labels == ("a", "b", "c")
    assert [p.tolist() for p in places] == [[2, 0, 2, 1, 2], [0, 3, 1, 2, 3]]
