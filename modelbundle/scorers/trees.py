"""Tree ensembles as flat arrays over raw values.

A node sends a row to its right child if ``x[column] >= cut``, else to its left child. Every number has two columns of x, in
which a missing value is minus infinity (it goes left) or infinity (it goes right). Every other question of a node ("is the
purpose one of these?") is a column of 0 and 1, from a table with one row per bin of the feature. The cuts are the raw values
at which the pipeline's arithmetic (filling, scaling, the cast to float32) changes the answer, so the scorer does not repeat it.

The score is ``start`` plus one value per tree, added in the order of the trees. For a mean of probabilities, the sum is
divided by the number of trees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.schema import Schema
from modelbundle.scorers.base import AnyColumn, Column, FloatArray, Row, Scorer, plain
from modelbundle.scorers.bins import Bins, CategoryBins, NumberBins, Places
from modelbundle.scorers.parts import BLOCK, Parts, every

MOST_TREES = 20_000
MOST_NODES = 20_000_000
DEEPEST = 1_000
CHUNK = 1 << 15  # rows times trees at once, so that the arrays fit into the processor's cache
TOGETHER = 64  # trees whose depth is found at a time: other threads answer meanwhile, and no large array is made
COPIED = 1 << 15  # nodes, about a megabyte: up to so many, each process has indices of its own, which are faster
FEW = 16  # up to so many trees, a row walks one tree after the other, which is faster than numpy

Flags = NDArray[np.uint8]


@dataclass(frozen=True)
class Trees:
    """The nodes of all trees. A leaf is its own child; any other child has a higher number than its parent."""

    roots: NDArray[np.int32]  # (trees,)
    columns: NDArray[np.int32]  # (nodes,) of x
    cuts: FloatArray  # (nodes,)
    children: NDArray[np.int32]  # (nodes, 2): left and right
    values: FloatArray  # (nodes,), 0 where the node is not a leaf

    @cached_property
    def depth(self) -> int:
        """The largest number of steps from a root to a leaf, counted up to :data:`DEEPEST` plus one."""
        blocks = range(0, len(self.roots), TOGETHER)
        return max((self._depth(self.roots[i : i + TOGETHER]) for i in blocks), default=0)

    def _depth(self, level: NDArray[np.int32]) -> int:
        for depth in range(DEEPEST + 1):
            below = self.children.take(level, axis=0)
            below = below[below[:, 0] != level]
            if not len(below):
                return depth
            level = below.reshape(-1)
        return DEEPEST + 1


@dataclass(frozen=True)
class Questions:
    """A table of 0 and 1: one row per bin of the feature, one column of x per question."""

    bins: Bins
    answers: Flags


class TreesScorer(Scorer):
    """The tree scorer; ``questions`` has one entry per feature."""

    kind: ClassVar[str] = "trees"

    def __init__(
        self, start: float, link: Literal["logit", "identity"], questions: Sequence[Questions], trees: Trees
    ) -> None:
        self.start = start
        self.link = link
        self.questions = tuple(questions)
        self.trees = trees
        self._divisor = float(len(trees.roots)) if link == "identity" else 1.0
        self._depth = trees.depth
        # numpy looks up with intp, but a large copy would not be shared
        wide = np.intp if len(trees.values) <= COPIED else np.int32
        self._children: NDArray[Any] = trees.children.reshape(-1).astype(wide, copy=False)
        self._columns: NDArray[Any] = trees.columns.astype(wide, copy=False)
        self._roots = trees.roots.astype(np.intp)
        self._few = len(trees.roots) <= FEW
        self._views = tuple(_view(a) for a in (self._columns, trees.cuts, self._children, trees.values))
        self._asked = [(i, q) for i, q in enumerate(self.questions) if q.answers.shape[1]]
        self._row_plan = [(i, q.bins.finder(), q.bins.missing, q.answers) for i, q in self._asked]
        self._numeric = [isinstance(q.bins, NumberBins) for q in self.questions]

    # One row

    def score_row(self, row: Row) -> float:
        """The score of one row; walks all trees at once level by level, or few trees one after the other."""
        head: list[float] = []
        for value, numeric in zip(row, self._numeric, strict=True):
            if not numeric:
                head += (0.0, 0.0)
            elif value is None:
                head += (-np.inf, np.inf)
            else:
                head += (value, value)  # type: ignore[arg-type]
        parts: list[NDArray[Any]] = [np.array(head)]
        for i, find, missing, answers in self._row_plan:
            parts.append(answers[missing if row[i] is None else find(row[i])])
        x = np.concatenate(parts)
        values = self._one_by_one(x.tolist()) if self._few else self._at_once(x)
        score = self.start
        for value in values:
            score += value
        return score / self._divisor

    def _at_once(self, x: FloatArray) -> list[float]:
        columns, cuts, children = self._columns, self.trees.cuts, self._children
        node: NDArray[Any] = self._roots
        for _ in range(self._depth):
            right = x.take(columns.take(node)) >= cuts.take(node)
            node = children.take(node + node + right)
        found: list[float] = self.trees.values.take(node).tolist()
        return found

    def _one_by_one(self, x: list[float]) -> list[float]:
        columns, cuts, children, values = self._views
        found = []
        for node in self._roots.tolist():
            while (child := children[2 * node + (x[columns[node]] >= cuts[node])]) != node:
                node = child
            found.append(values[node])
        return found

    # Columns

    def score_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """The scores of n rows, shape (n,), in chunks of bounded memory."""
        n = len(columns[0])
        bins = [(q.bins.places(columns[i]), q.answers) for i, q in self._asked]
        numbers = [plain(c) if numeric else [] for c, numeric in zip(columns, self._numeric, strict=True)]
        scores = np.full(n, self.start)
        rows = max(1, min(CHUNK // max(1, min(len(self._roots), 64)), n))
        for begin in range(0, n, rows):
            end = min(begin + rows, n)
            x = self._matrix(numbers, bins, begin, end)
            for first in range(0, len(self._roots), 64):
                self._walk(x, self._roots[first : first + 64], scores[begin:end])
        return scores / self._divisor

    def _matrix(
        self, columns: Sequence[Column], bins: Sequence[tuple[Places, Flags]], begin: int, end: int
    ) -> FloatArray:
        """The columns of x for the rows from ``begin`` to ``end``, shape (columns, rows)."""
        blocks: list[NDArray[Any]] = [np.zeros((2 * len(columns), end - begin))]
        for i, numeric in enumerate(self._numeric):
            if numeric:
                numbers = np.asarray(columns[i][begin:end], dtype=np.float64)
                missing = np.isnan(numbers)
                blocks[0][2 * i] = np.where(missing, -np.inf, numbers)
                blocks[0][2 * i + 1] = np.where(missing, np.inf, numbers)
        blocks += [answers[found.of(begin, end)].T for found, answers in bins]
        return np.concatenate(blocks)

    def _walk(self, x: FloatArray, roots: NDArray[np.intp], scores: FloatArray) -> None:
        """Add the values of these trees to the scores, tree by tree."""
        n = x.shape[1]
        flat = x.reshape(-1)
        columns, cuts, children = self._columns, self.trees.cuts, self._children
        leaves = np.repeat(roots, n)
        place = np.arange(len(leaves))
        node: NDArray[Any] = leaves
        row = np.tile(np.arange(n), len(roots))
        for level in range(self._depth):
            right = flat.take(np.multiply(columns.take(node), n, dtype=np.intp) + row) >= cuts.take(node)
            after = children.take(node + node + right)
            if level % 4 != 3:
                node = after
                continue
            leaves[place] = after  # continue with the rows that are not at a leaf yet
            going = np.flatnonzero(children.take(after + after) != after)
            place, node, row = place[going], after[going], row[going]
        leaves[place] = node
        for values in self.trees.values.take(leaves).reshape(len(roots), n):
            scores += values

    def cuts(self, feature: int) -> list[float]:
        """The finite values of a number at which a node changes its answer, ascending; empty for a category."""
        bins = self.questions[feature].bins
        if isinstance(bins, CategoryBins):
            return []
        inner = self.trees.children[:, 0] != np.arange(len(self.trees.children))
        found = self.trees.cuts[inner & (self.trees.columns // 2 == feature)]
        ascending: list[float] = np.unique(np.concatenate([found[np.isfinite(found)], bins.cuts])).tolist()
        return ascending

    def labels(self, feature: int) -> tuple[str, ...]:
        """The labels of a category that the trees distinguish; empty for a number."""
        bins = self.questions[feature].bins
        return bins.labels if isinstance(bins, CategoryBins) else ()

    # Storage

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header: link, start and the bins' labels. Arrays: those of :class:`Trees`, ``cuts_i`` and ``answers_i``."""
        trees = self.trees
        arrays: dict[str, NDArray[Any]] = {
            "roots": trees.roots,
            "columns": trees.columns,
            "cuts": trees.cuts,
            "children": trees.children,
            "values": trees.values,
        }
        features: list[dict[str, Any]] = []
        for i, question in enumerate(self.questions):
            arrays[f"answers_{i}"] = question.answers
            if isinstance(question.bins, NumberBins):
                arrays[f"cuts_{i}"] = question.bins.cuts
                features.append({"kind": "number"})
            else:
                features.append({"kind": "category", "labels": list(question.bins.labels)})
        return {"link": self.link, "start": self.start, "features": features}, arrays

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema) -> TreesScorer:
        """See :meth:`Scorer.from_parts`."""
        parts = Parts(header, arrays, schema)
        features = parts.entries("features", len(schema))
        if len(features) != len(schema):
            raise FormatError("scorer", "must have the bins of every feature")
        questions = []
        for i, feature in enumerate(schema):
            bins = parts.bins(i, feature, features[i])
            questions.append(Questions(bins, parts.indices(f"answers_{i}", "|u1", (bins.size, None), 2)))
        asked = sum(question.answers.shape[1] for question in questions)
        trees = _read_trees(parts, 2 * len(features) + asked)
        link, start = header.get("link"), parts.number(header.get("start"))
        if link not in ("logit", "identity"):
            raise FormatError("scorer", "its link must be logit or identity")
        if link == "identity" and not (start == 0.0 and every(trees.values, _is_share)):
            raise FormatError("scorer", "probabilities must lie between 0 and 1")
        parts.nothing_else()
        return cls(start, link, questions, trees)


def _is_share(block: FloatArray) -> NDArray[np.bool_]:
    return (block >= 0) & (block <= 1)


def _view(array: NDArray[Any]) -> memoryview:
    """A view that is faster than the array for single elements; it copies an array from a file that is not aligned."""
    return memoryview(np.require(array, requirements=["ALIGNED"]).data)


def _read_trees(parts: Parts, width: int) -> Trees:
    values = parts.floats("values", (None,))
    nodes = len(values)
    if nodes > MOST_NODES:
        raise FormatError("scorer", f"has more than {MOST_NODES} nodes")
    roots = parts.indices("roots", "<i4", (None,), nodes)
    if not 0 < len(roots) <= MOST_TREES:
        raise FormatError("scorer", f"must have 1 to {MOST_TREES} trees")
    cuts = parts.array("cuts", "<f8", (nodes,))
    if not every(cuts, lambda block: ~np.isnan(block)):
        raise FormatError("scorer", "a cut is not a number")
    children = parts.indices("children", "<i4", (nodes, 2), nodes)
    _check_parents(roots, children)
    trees = Trees(roots, parts.indices("columns", "<i4", (nodes,), width), cuts, children, values)
    if trees.depth > DEEPEST:
        raise FormatError("scorer", f"its trees are deeper than {DEEPEST}")
    return trees


def _check_parents(roots: NDArray[np.int32], children: NDArray[np.int32]) -> None:
    """Check, a block at a time, that the nodes are trees; raises :class:`FormatError`."""
    found = np.zeros(len(children), dtype=bool)
    found[roots] = True
    count = len(roots)
    for begin in range(0, len(children), BLOCK):
        block = children[begin : begin + BLOCK]
        own = np.arange(begin, begin + len(block), dtype=np.int32)
        left, right = block[:, 0], block[:, 1]
        leaf = (left == own) & (right == own)
        if not bool((leaf | ((left > own) & (right > own))).all()):
            raise FormatError("scorer", "a child must come after its parent")
        below = block[~leaf].reshape(-1)
        found[below] = True
        count += len(below)
    if count != len(children) or not bool(found.all()):
        raise FormatError("scorer", "a node must be a root or the child of one node")
