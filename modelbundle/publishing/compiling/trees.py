"""Compiling trees on encoded columns into trees on raw values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.publishing.compiling import boosters, ensembles
from modelbundle.publishing.compiling.encoding import Encoded, Labels, NotSupported, Number, Steps
from modelbundle.publishing.compiling.ensembles import Bools, Ensemble
from modelbundle.publishing.compiling.terms import union
from modelbundle.schema import Schema
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import Bins
from modelbundle.scorers.trees import Questions, Trees, TreesScorer


@dataclass(frozen=True)
class _Asked:
    """The nodes that split a column of finitely many values: ``right[bin, question]``, and the question of each node."""

    bins: Bins
    right: Bools
    nodes: NDArray[np.int64]
    question: NDArray[np.int64]


def read_ensemble(model: Any, encoded: Sequence[Encoded], klass: int = -1) -> Ensemble:
    """The trees of a fitted classifier with inputs ``encoded``; raises :class:`NotSupported`.

    They give the score of the last of two classes; of more classes, that of the class at position ``klass``.
    """
    kind = type(model)
    package = kind.__module__.partition(".")[0]
    read = (
        ensembles.READERS.get(kind.__name__) if package == "sklearn" else boosters.READERS.get((package, kind.__name__))
    )
    if read is None:
        raise NotSupported(f"{kind.__name__} is not a tree ensemble that is supported")
    found: Ensemble = read(model, encoded, klass)
    return found


def is_ensemble(model: Any) -> bool:
    """Whether :func:`read_ensemble` knows the type of a model."""
    kind = type(model)
    package = kind.__module__.partition(".")[0]
    return (package == "sklearn" and kind.__name__ in ensembles.READERS) or (package, kind.__name__) in boosters.READERS


def compile_trees(ensemble: Ensemble, schema: Schema) -> TreesScorer:
    """A scorer for a tree ensemble on encoded columns; raises :class:`NotSupported`."""
    nodes = len(ensemble.value)
    columns, cuts = np.zeros(nodes, dtype=np.int64), np.zeros(nodes)
    asked: list[list[_Asked]] = [[] for _ in schema]
    inner = ensemble.inner
    for position, encoded in enumerate(ensemble.encoded):
        at = np.flatnonzero(inner & (ensemble.column == position))
        if not len(at):
            continue
        if isinstance(encoded, Labels):
            raise NotSupported("a category reaches the trees without having been encoded")
        if isinstance(encoded, Number):
            columns[at], cuts[at] = _cut(ensemble, encoded, at)
        else:
            asked[encoded.feature].append(_ask(ensemble, encoded, position, at))
    questions = []
    width = 2 * len(schema)
    for feature, parts in zip(schema, asked, strict=True):
        bins, places = union(feature, [part.bins for part in parts])
        answers = [part.right[place] for part, place in zip(parts, places, strict=True)]
        for part, answer in zip(parts, answers, strict=True):
            columns[part.nodes], cuts[part.nodes] = width + part.question, 0.5
            width += answer.shape[1]
        questions.append(Questions(bins, np.concatenate([np.zeros((bins.size, 0)), *answers], axis=1).astype(np.uint8)))
    trees = Trees(
        roots=ensemble.roots.astype(np.int32),
        columns=columns.astype(np.int32),
        cuts=cuts,
        children=np.column_stack([ensemble.left, ensemble.right]).astype(np.int32),
        values=np.where(inner, 0.0, ensemble.value),
    )
    return TreesScorer(ensemble.start, ensemble.link, questions, trees)


def _seen(ensemble: Ensemble, values: FloatArray) -> FloatArray:
    """The values with the precision in which the trees compare them."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64) if ensemble.narrow else values


def _cut(ensemble: Ensemble, encoded: Number, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], FloatArray]:
    """For nodes that split a number: the column of x, which decides where a missing value goes, and the cut."""
    if bool((ensemble.subset[at] >= 0).any()):
        raise NotSupported("a number is split as a category without having been encoded")
    thresholds, which = np.unique(ensemble.threshold[at], return_inverse=True)
    cuts = encoded.first(lambda v: ~(_seen(ensemble, v) <= thresholds), len(thresholds))[which]
    missing = _seen(ensemble, encoded.at(np.array([np.nan])))[0]
    right = ~ensemble.missing_left[at] if np.isnan(missing) else ~(missing <= ensemble.threshold[at])
    return 2 * encoded.feature + right, cuts


def _ask(ensemble: Ensemble, encoded: Steps, position: int, at: NDArray[np.int64]) -> _Asked:
    values = _seen(ensemble, encoded.values)[:, None]
    left = values <= ensemble.threshold[at]
    unsure = np.isnan(values) & np.ones(len(at), dtype=bool)
    if (split := np.flatnonzero(ensemble.subset[at] >= 0)).size:
        fits = (values >= 0) & (values < 256)
        codes = np.where(fits, values, 0).astype(np.int64)[:, 0]
        chosen = fits & ensemble.subsets[ensemble.subset[at[split]]].T[codes]
        left[:, split] = chosen
        unsure[:, split] = ~chosen & ~(fits & ensemble.known[position][codes][:, None])
    right = ~np.where(unsure, ensemble.missing_left[at], left)
    different, question = np.unique(right, axis=1, return_inverse=True)
    return _Asked(encoded.bins, different, at, question.reshape(-1))
