"""The trees scorer: flat arrays walked for one row or many, and checked before they are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbundle.errors import FormatError
from modelbundle.golden import columns
from modelbundle.schema import Feature, Schema
from modelbundle.scorers import parts
from modelbundle.scorers import trees as module
from modelbundle.scorers.base import Value
from modelbundle.scorers.bins import CategoryBins, NumberBins
from modelbundle.scorers.trees import DEEPEST, Questions, Trees, TreesScorer

SCHEMA = Schema((Feature("amount", "number", False), Feature("grade", "category", False)))
ROWS = st.lists(
    st.tuples(
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([10.0, 20.0]),
        st.none() | st.sampled_from(["A", "B", "Z"]),
    ),
    min_size=1,
    max_size=20,
)


def two_trees() -> Trees:
    """Tree 0: amount below 10 (missing left)? then 1, else grade B or unknown? 4 : 2. Tree 1: amount below 20 (missing right)?"""
    return Trees(
        roots=np.array([0, 5], dtype=np.int32),
        columns=np.array([0, 0, 4, 0, 0, 1, 0, 0], dtype=np.int32),
        cuts=np.array([10.0, 0.0, 0.5, 0.0, 0.0, 20.0, 0.0, 0.0]),
        children=np.array([[1, 2], [1, 1], [3, 4], [3, 3], [4, 4], [6, 7], [6, 6], [7, 7]], dtype=np.int32),
        values=np.array([0.0, 1.0, 0.0, 2.0, 4.0, 0.0, 8.0, 16.0]),
    )


def questions() -> list[Questions]:
    """None of the amount; of the grade whether it is B or unknown."""
    return [
        Questions(NumberBins(np.empty(0)), np.zeros((2, 0), dtype=np.uint8)),
        Questions(CategoryBins(("A", "B")), np.array([[0], [1], [0], [1]], dtype=np.uint8)),
    ]


def scorer() -> TreesScorer:
    """The two trees, from 0.5."""
    return TreesScorer(0.5, "logit", questions(), two_trees())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((9.999, "A"), 0.5 + 1 + 8),
        ((10.0, "A"), 0.5 + 2 + 8),
        ((10.0, "B"), 0.5 + 4 + 8),
        ((20.0, "Z"), 0.5 + 4 + 16),
        ((20.0, None), 0.5 + 2 + 16),
        ((None, "A"), 0.5 + 1 + 16),
        ((1.7e308, "A"), 0.5 + 2 + 16),
    ],
)
@pytest.mark.parametrize("few", [0, 16])
def test_a_row_goes_where_its_values_send_it(
    row: tuple[Value, ...], expected: float, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value on a cut goes right, a missing one where its column says; both ways of walking one row agree."""
    monkeypatch.setattr(module, "FEW", few)
    assert scorer().score_row(row) == expected


@pytest.mark.parametrize("few", [0, 16])
@given(rows=ROWS)
def test_rows_and_columns_give_the_same_bits(few: int, rows: list[tuple[Value, ...]]) -> None:
    """A row's score is the same by itself and among others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEW", few)
        model = scorer()
    assert [model.score_row(row) for row in rows] == model.score_columns(columns(SCHEMA, rows)).tolist()


@given(rows=ROWS)
def test_indices_of_their_own_do_not_show(rows: list[tuple[Value, ...]]) -> None:
    """A large forest is walked with the indices as they are stored, a small one with wider copies: the same bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COPIED", 0)
        patch.setattr(module, "FEW", 0)
        large = scorer()
    small, asked = scorer(), columns(SCHEMA, rows)
    assert [large.score_row(row) for row in rows] == [small.score_row(row) for row in rows]
    assert large.score_columns(asked).tolist() == small.score_columns(asked).tolist()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows at the seams of chunks, and trees at the seams of blocks, give the same bits."""
    one = two_trees()
    count = 130
    step = np.repeat(np.arange(count) * len(one.values), len(one.values)).astype(np.int32)
    many = Trees(
        roots=np.concatenate([one.roots + np.int32(k * len(one.values)) for k in range(count)]),
        columns=np.tile(one.columns, count),
        cuts=np.tile(one.cuts, count),
        children=np.tile(one.children, (count, 1)) + step[:, None],
        values=np.tile(one.values, count) * np.linspace(0.1, 0.7, len(step)),
    )
    rng = np.random.default_rng(0)
    rows: list[tuple[Value, ...]] = [(float(v), "B") for v in rng.uniform(0, 30, 300)]
    model = TreesScorer(0.1, "logit", questions(), many)
    expected = model.score_columns(columns(SCHEMA, rows)).tolist()
    monkeypatch.setattr(module, "CHUNK", 64 * 7)
    assert model.score_columns(columns(SCHEMA, rows)).tolist() == expected
    assert [model.score_row(row) for row in rows] == expected


def test_deep_trees_are_walked_to_the_end() -> None:
    """Rows that arrive early and rows that arrive late get their own leaves (a comb of 40 levels)."""
    inner = np.arange(0, 80, 2)
    children = np.column_stack([np.arange(81), np.arange(81)]).astype(np.int32)
    children[inner] = np.column_stack([inner + 1, inner + 2])
    cuts = np.zeros(81)
    cuts[inner] = np.arange(1, 41)
    columns_of = np.zeros(81, dtype=np.int32)
    values = np.where(np.isin(np.arange(81), inner), 0.0, np.arange(81.0))
    model = TreesScorer(0.0, "logit", questions(), Trees(np.array([0], np.int32), columns_of, cuts, children, values))
    found = model.score_columns([np.arange(0, 45) + 0.5, ["A"] * 45])
    assert found.tolist() == [*(2.0 * k + 1 for k in range(40)), *[80.0] * 5]


def test_a_mean_of_probabilities_is_divided_by_the_trees() -> None:
    """With the identity link the score is the mean of the leaves."""
    trees = replace(two_trees(), values=two_trees().values / 16)
    assert TreesScorer(0.0, "identity", questions(), trees).score_row((20.0, "B")) == (4 / 16 + 1) / 2


def test_parts_make_an_equal_scorer() -> None:
    """What is stored has plain little-endian types, and what is read from it gives the same bits."""
    header, arrays = scorer().to_parts()
    again = TreesScorer.from_parts(header, arrays, SCHEMA)
    rows: list[tuple[Value, ...]] = [(10.0, "A"), (None, "B"), (25.0, None), (3.0, "?")]
    assert {array.dtype.str for array in arrays.values()} <= {"<f8", "<i4", "|u1"}
    assert again.score_columns(columns(SCHEMA, rows)).tolist() == scorer().score_columns(columns(SCHEMA, rows)).tolist()
    assert (again.link, again.cuts(0), again.labels(1)) == ("logit", [10.0, 20.0], ("A", "B"))


def _comb(levels: int) -> dict[str, Any]:
    """The arrays of one tree of that depth."""
    nodes = 2 * levels + 1
    inner = np.arange(0, nodes - 1, 2)
    children = np.column_stack([np.arange(nodes)] * 2).astype(np.int32)
    children[inner] = np.column_stack([inner + 1, inner + 2])
    return {
        "roots": np.zeros(1, np.int32),
        "columns": np.zeros(nodes, np.int32),
        "cuts": np.zeros(nodes),
        "children": children,
        "values": np.zeros(nodes),
    }


def _broken() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By what is wrong: changes of the header and of the arrays."""
    tree = two_trees()

    def child(node: int, left: int, right: int) -> dict[str, Any]:
        children = tree.children.copy()
        children[node] = (left, right)
        return {"children": children}

    return {
        "an unknown link": ({"link": "probit"}, {}),
        "no start": ({"start": None}, {}),
        "probabilities above 1": ({"link": "identity", "start": 0.0}, {}),
        "too few features": ({"features": [{"kind": "number"}]}, {}),
        "no trees": ({}, {"roots": np.zeros(0, np.int32)}),
        "a root beyond the nodes": ({}, {"roots": np.array([0, 8], np.int32)}),
        "a negative root": ({}, {"roots": np.array([0, -3], np.int32)}),
        "one tree twice": ({}, {"roots": np.array([0, 0], np.int32)}),
        "a column beyond x": ({}, {"columns": np.full(8, 5, np.int32)}),
        "a negative column": ({}, {"columns": np.full(8, -1, np.int32)}),
        "wide integers": ({}, {"columns": np.zeros(8, np.int64)}),
        "a cut that is no number": ({}, {"cuts": np.full(8, np.nan)}),
        "an infinite leaf": ({}, {"values": np.full(8, np.inf)}),
        "fewer cuts than nodes": ({}, {"cuts": np.zeros(7)}),
        "a cycle": ({}, child(2, 0, 4)),
        "a node that is its own child on one side": ({}, child(2, 2, 4)),
        "a child beyond the nodes": ({}, child(2, 3, 8)),
        "two parents": ({}, child(0, 2, 2)),
        "a child in another tree": ({}, child(2, 3, 6)),
        "children of one column": ({}, {"children": np.zeros((8, 1), np.int32)}),
        "an answer of 2": ({}, {"answers_1": np.full((4, 1), 2, np.uint8)}),
        "answers for fewer bins": ({}, {"answers_1": np.zeros((3, 1), np.uint8)}),
        "a tree too deep": ({}, _comb(DEEPEST + 1)),
        "an array that nobody asked for": ({}, {"more": np.zeros(1)}),
        "a missing array": ({}, {"cuts_0": None}),
    }


@pytest.mark.parametrize("block", [parts.BLOCK, 3])
@pytest.mark.parametrize("what", _broken())
def test_parts_that_are_not_as_they_say_are_refused(what: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cycle, no index out of bounds, nothing that is not finite gets past loading, in whatever block it is."""
    monkeypatch.setattr(parts, "BLOCK", block)
    monkeypatch.setattr(module, "BLOCK", block)
    header, arrays = scorer().to_parts()
    changed, replaced = _broken()[what]
    merged = {name: array for name, array in {**arrays, **replaced}.items() if array is not None}
    with pytest.raises(FormatError):
        TreesScorer.from_parts({**header, **changed}, merged, SCHEMA)


def test_the_deepest_tree_that_is_allowed_is_walked() -> None:
    """A comb of the greatest depth loads and answers."""
    header, arrays = scorer().to_parts()
    deep = TreesScorer.from_parts(header, {**arrays, **_comb(DEEPEST)}, SCHEMA)
    assert math.isfinite(deep.score_row((1.0, "A")))


def test_arrays_at_an_odd_address_are_read() -> None:
    """Bytes of a file need not lie where the processor likes them."""
    header, arrays = scorer().to_parts()
    shifted = {
        name: np.frombuffer(b"\0" + a.tobytes(), dtype=a.dtype, offset=1).reshape(a.shape) for name, a in arrays.items()
    }
    rows: list[tuple[Value, ...]] = [(10.0, "A"), (None, "B")]
    loaded = TreesScorer.from_parts(header, shifted, SCHEMA)
    assert [loaded.score_row(row) for row in rows] == [scorer().score_row(row) for row in rows]
