"""Whatever a bundle's tables hold: a FormatError, or a scorer that answers with finite numbers."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.golden import columns
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer
from tests.unit.modelbundle.scorers import test_additive, test_trees

ODD = [0, 1, -1, 2, 7, 2**31 - 1, -(2**31), 2**62, True, None, 0.5, -0.0, 1e300, 1e308, "A", "", [], {}, [0, 1], [[]]]
CELLS = st.floats() | st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 12)
DTYPES = ["<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "|u1", "<u4", "|b1"]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in inside for place in _places(inner, (*path, key)))]


def _changed_header(data: st.DataObject, header: dict[str, Any]) -> dict[str, Any]:
    header = copy.deepcopy(header)
    for _ in range(data.draw(st.integers(0, 2))):
        *path, last = data.draw(st.sampled_from([place for place in _places(header) if place]))
        inside: Any = header
        for key in path:
            inside = inside[key]
        inside[last] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    return header


def _changed_array(data: st.DataObject, array: NDArray[Any]) -> NDArray[Any]:
    how = data.draw(st.sampled_from(["cell", "cell", "cell", "type", "shape", "cut off", "reversed"]))
    array = array.copy()
    if how == "type":
        with np.errstate(all="ignore"):
            return array.astype(data.draw(st.sampled_from(DTYPES)))
    if how == "shape":
        return array.reshape(data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1), (1, 1, -1)])))
    if how == "cut off" or not array.size:
        return array[: data.draw(st.integers(0, len(array)))]
    if how == "reversed":
        return np.ascontiguousarray(array[::-1])
    with np.errstate(all="ignore"):
        cell = np.array(data.draw(CELLS), dtype=np.float64).astype(array.dtype)
    array.reshape(-1)[data.draw(st.integers(0, array.size - 1))] = cell
    return array


def _attack(data: st.DataObject, scorer: Scorer, schema: Schema, rows: list[tuple[Any, ...]]) -> None:
    header, arrays = scorer.to_parts()
    header = _changed_header(data, header)
    for name in data.draw(st.lists(st.sampled_from(sorted(arrays)), max_size=3, unique=True)):
        arrays[name] = _changed_array(data, arrays[name])
    try:
        loaded = type(scorer).from_parts(header, arrays, schema)
    except FormatError:
        return
    scores = loaded.score_columns(columns(schema, rows)).tolist()
    assert all(map(math.isfinite, scores))
    assert [loaded.score_row(row) for row in rows] == scores
    assert all(0.0 <= loaded.probability(score) <= 1.0 for score in scores)
    if loaded.has_contributions:
        assert all(math.isfinite(c) for row in rows for c in loaded.explain_row(row)[1])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_tables_of_an_additive_scorer(data: st.DataObject) -> None:
    """It is refused, or its scores are finite and the same for rows and columns."""
    rows: list[tuple[Any, ...]] = [(10.0, "A", 0.5), (None, None, None), (-1e308, "Z", 1.7e308), (15.0, "B", -1e300)]
    module = test_additive
    _attack(data, module.scorer(), module.SCHEMA, rows)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_tables_of_a_trees_scorer(data: st.DataObject) -> None:
    """It is refused, or its scores are finite and the same for rows and columns; it never walks in circles."""
    rows: list[tuple[Any, ...]] = [(10.0, "A"), (None, None), (-1e308, "Z"), (1.7e308, "B")]
    module = test_trees
    _attack(data, module.scorer(), module.SCHEMA, rows)
