"""Boosted trees with at most two features each, as an additive scorer of curves and surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from modelbundle.publishing.compiling.encoding import NotSupported
from modelbundle.publishing.compiling.preprocessing import UNKNOWN
from modelbundle.publishing.compiling.terms import Terms
from modelbundle.schema import LARGEST, Schema
from modelbundle.scorers.additive import MOST_PAIRS, AdditiveScorer
from modelbundle.scorers.base import Column
from modelbundle.scorers.bins import Bins, CategoryBins, NumberBins
from modelbundle.scorers.trees import Trees, TreesScorer

MOST_CELLS = 4_000_000  # of the tables of all pairs


def sum_of_trees(scorer: TreesScorer, schema: Schema) -> AdditiveScorer:
    """The additive scorer with the scores of ``scorer``, up to the order of addition; raises :class:`NotSupported`."""
    if scorer.link != "logit":
        raise NotSupported("a mean of trees' probabilities is not a sum of log-odds")
    features = _features(scorer)
    groups: dict[tuple[int, ...], list[int]] = {}
    for tree, seen in enumerate(features):
        groups.setdefault(seen, []).append(tree)
    if max(map(len, groups)) > 2:
        raise NotSupported("its trees look at more than two features together")
    if sum(len(group) == 2 for group in groups) > MOST_PAIRS:
        raise NotSupported(f"its trees look at more than {MOST_PAIRS} pairs of features")
    terms = Terms(schema)
    terms.intercept = scorer.start
    cells = 0
    for seen, members in groups.items():
        part = _only(scorer, members)
        bins = [_bins(part, feature) for feature in seen]
        cells += prod(b.size for b in bins) if len(bins) == 2 else 0
        if cells > MOST_CELLS:
            raise NotSupported(f"the tables of its pairs have more than {MOST_CELLS} cells")
        values = part.score_columns(_grid(schema, seen, bins)).reshape([b.size for b in bins] or [1])
        if len(bins) == 2:
            terms.add_pair((seen[0], seen[1]), (bins[0], bins[1]), values)
        elif bins:
            terms.add_table(seen[0], bins[0], values)
        else:
            terms.intercept += float(values[0])
    return terms.scorer()


def _owner(scorer: TreesScorer) -> NDArray[np.int64]:
    """The feature behind each column of x."""
    asked = [np.full(q.answers.shape[1], i) for i, q in enumerate(scorer.questions)]
    return np.concatenate([np.repeat(np.arange(len(scorer.questions)), 2), *asked])


def _tree_of_nodes(trees: Trees) -> NDArray[np.int64]:
    return np.searchsorted(trees.roots, np.arange(len(trees.values)), side="right") - 1


def _features(scorer: TreesScorer) -> list[tuple[int, ...]]:
    """The features of each tree, ascending."""
    trees = scorer.trees
    inner = np.flatnonzero(trees.children[:, 0] != np.arange(len(trees.values)))
    seen = np.zeros((len(trees.roots), len(scorer.questions)), dtype=bool)
    seen[_tree_of_nodes(trees)[inner], _owner(scorer)[trees.columns[inner]]] = True
    return [tuple(int(i) for i in np.flatnonzero(row)) for row in seen]


def _only(scorer: TreesScorer, members: Sequence[int]) -> TreesScorer:
    """The scorer of some of the trees, starting from 0."""
    trees = scorer.trees
    chosen = np.isin(_tree_of_nodes(trees), members)
    moved = (np.cumsum(chosen) - 1).astype(np.int32)
    part = replace(
        trees,
        roots=moved[trees.roots[members]],
        columns=trees.columns[chosen],
        cuts=trees.cuts[chosen],
        children=moved[trees.children[chosen]],
        values=trees.values[chosen],
    )
    return TreesScorer(0.0, "logit", scorer.questions, part)


def _bins(part: TreesScorer, feature: int) -> Bins:
    bins = part.questions[feature].bins
    if isinstance(bins, CategoryBins):
        return bins
    return NumberBins(np.array([cut for cut in part.cuts(feature) if cut > -LARGEST]))


def _grid(schema: Schema, seen: Sequence[int], bins: Sequence[Bins]) -> list[Column]:
    """One row per combination of bins, with values that fall into them; the other features are missing."""
    sizes = [b.size for b in bins]
    rows = prod(sizes)
    places = np.indices(sizes).reshape(len(sizes), -1)
    columns: list[Column] = []
    for i, feature in enumerate(schema):
        if i not in seen:
            columns.append(np.full(rows, np.nan) if feature.kind == "number" else [None] * rows)
            continue
        k = list(seen).index(i)
        own = bins[k]
        if isinstance(own, NumberBins):
            columns.append(own.examples()[places[k]])
        else:
            values = [*own.labels, None, UNKNOWN]
            columns.append([values[place] for place in places[k]])
    return columns
