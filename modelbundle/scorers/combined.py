"""Scorers that combine others: a mean of probabilities, one raw score per class, or a calibration of a score.

==========  =====  =================================================================================================
rule        parts  the probabilities
==========  =====  =================================================================================================
mean        any    the weighted mean of the parts' probabilities, added in their order
softmax     K      ``exp(s_k) / sum(exp(s))`` of the parts' scores
classes     K      each part's probability of its class, as it is
sigmoid     1      of the last of two classes: ``1 / (1 + exp(-(factor * s + shift)))`` of the part's score
isotonic    1      of the last of two classes: the part's score on a line through points
odds        1      of the last of two classes: the part's odds times ``factor``
==========  =====  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.schema import Schema
from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import AnyColumn, Coded, FloatArray, Row, Scorer, checked, plain
from modelbundle.scorers.parts import Parts
from modelbundle.scorers.probability import expit_array, softmax
from modelbundle.scorers.trees import TreesScorer

MEAN, SOFTMAX, CLASSES, SIGMOID, ISOTONIC, ODDS = RULES = (
    "mean", "softmax", "classes", "sigmoid", "isotonic", "odds",
)  # fmt: skip
SINGLE = (SIGMOID, ISOTONIC, ODDS)  # the rules of one part
FARTHEST = 1e200  # of a number in lines whose sums are compared: a part bounds each line by itself, which would make them equal
MOST_PARTS = 2_000
DEEPEST = 4  # combined scorers within each other


@dataclass(frozen=True)
class Combination:
    """A rule, and the numbers that it needs: ``weights`` of a mean, ``factor`` and ``shift`` of a sigmoid, points of isotonic."""

    rule: str
    weights: tuple[float, ...] = ()
    factor: float = 1.0
    shift: float = 0.0
    x: FloatArray = field(default_factory=lambda: np.empty(0))
    y: FloatArray = field(default_factory=lambda: np.empty(0))


class CombinedScorer(Scorer):
    """Combines ``parts``, which are scorers of the same schema. A score is the probability of the last class."""

    kind: ClassVar[str] = "combined"
    link = "identity"

    def __init__(self, combination: Combination, parts: Sequence[Scorer], schema: Schema) -> None:
        self.combination = combination
        self.parts = tuple(parts)
        self.schema = schema
        lines = any(isinstance(part, AdditiveScorer) and part.lines for part in parts)
        self._bounded = combination.rule == SOFTMAX and lines
        self._total = 0.0
        for weight in combination.weights:
            self._total += weight

    @property
    def outputs(self) -> int:
        """See :attr:`Scorer.outputs`."""
        if self.combination.rule in (SOFTMAX, CLASSES):
            return len(self.parts)
        return self.parts[0].outputs

    def score_row(self, row: Row) -> float:
        """The probability of the last class."""
        return self.probability_row(row)[-1]

    def score_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """The probabilities of the last class, shape (n,)."""
        return np.ascontiguousarray(self.probability_matrix(columns)[:, -1])

    def probability_row(self, row: Row) -> list[float]:
        """See :meth:`Scorer.probability_row`."""
        if self.combination.rule == MEAN:
            matrix = self._mean([np.array([part.probability_row(row)]) for part in self.parts])
        else:
            if self._bounded:
                row = [min(max(v, -FARTHEST), FARTHEST) if isinstance(v, float) else v for v in row]
            matrix = self._matrix([np.array([part.score_row(row)]) for part in self.parts])
        found: list[float] = checked(matrix)[0].tolist()
        return found

    def probability_matrix(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """Probabilities of all classes, shape (n, classes); raises :class:`CannotScore`."""
        if self.combination.rule == MEAN:
            return checked(self._mean([part.probability_matrix(columns) for part in self.parts]))
        if self._bounded:
            columns = [_bounded(column) for column in columns]
        return checked(self._matrix([part.score_columns(columns) for part in self.parts]))

    def _mean(self, parts: Sequence[FloatArray]) -> FloatArray:
        matrix = np.zeros_like(parts[0])
        for weight, part in zip(self.combination.weights, parts, strict=True):
            matrix += weight * part
        return matrix / self._total

    def _matrix(self, scores: Sequence[FloatArray]) -> FloatArray:
        """Probabilities of all classes from the parts' scores, each of shape (n,)."""
        how = self.combination
        if how.rule == SOFTMAX:
            return softmax(np.column_stack(scores))
        if how.rule in SINGLE:
            last = self._curve(scores[0])
            return np.column_stack([1.0 - last, last])
        return np.column_stack([part.probabilities(own) for part, own in zip(self.parts, scores, strict=True)])

    def _curve(self, scores: FloatArray) -> FloatArray:
        how = self.combination
        if how.rule == SIGMOID:
            return expit_array(how.factor * scores + how.shift)
        if how.rule == ISOTONIC:
            return _on_points(how, scores)
        probabilities = self.parts[0].probabilities(scores)
        weighted = how.factor * probabilities
        moved: FloatArray = weighted / (weighted + (1.0 - probabilities))
        return moved

    def cuts(self, feature: int) -> list[float]:
        """The values of a number at which a part changes its answer, ascending; empty for a category."""
        return sorted({cut for part in self.parts for cut in part.cuts(feature)})

    def labels(self, feature: int) -> tuple[str, ...]:
        """The labels of a category that a part distinguishes; empty for a number."""
        return tuple(sorted({label for part in self.parts for label in part.labels(feature)}))

    # Storage

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header: the rule, its numbers, and the parts' kinds and headers. Arrays: those of part k as ``k.name``, and points."""
        how = self.combination
        stored = [part.to_parts() for part in self.parts]
        arrays = {f"{k}.{name}": array for k, (_, own) in enumerate(stored) for name, array in own.items()}
        if how.rule == ISOTONIC:
            arrays |= {"x": how.x, "y": how.y}
        header = {
            "rule": how.rule,
            "weights": list(how.weights),
            "factor": how.factor,
            "shift": how.shift,
            "parts": [{"kind": part.kind, **own} for part, (own, _) in zip(self.parts, stored, strict=True)],
        }
        return header, arrays

    @classmethod
    def from_parts(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema
    ) -> CombinedScorer:
        """See :meth:`Scorer.from_parts`."""
        return _read(header, arrays, schema, 0)


def _bounded(column: AnyColumn) -> AnyColumn:
    if isinstance(column, Coded):
        return Coded(column.codes, plain(_bounded(column.values)))
    return np.clip(column, -FARTHEST, FARTHEST) if isinstance(column, np.ndarray) else column


def _on_points(how: Combination, scores: FloatArray) -> FloatArray:
    clipped = np.clip(scores, how.x[0], how.x[-1])
    found: FloatArray = np.interp(clipped, how.x, how.y)
    return found


def _read(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema, depth: int) -> CombinedScorer:
    rule = header.get("rule")
    if rule not in RULES or depth > DEEPEST:
        raise FormatError("scorer", "its rule is not supported")
    own = Parts(header, {name: array for name, array in arrays.items() if "." not in name}, schema)
    entries = own.entries("parts", MOST_PARTS)
    weights = tuple(own.number(weight) for weight in own.entries("weights", MOST_PARTS))
    single = rule in SINGLE
    if len(entries) < (1 if single or rule == MEAN else 2) or (single and len(entries) != 1):
        raise FormatError("scorer", "has another number of parts than its rule needs")
    if rule == MEAN and (len(weights) != len(entries) or not all(w >= 0 for w in weights) or not sum(weights) > 0):
        raise FormatError("scorer", "a mean needs one weight per part, and not all of them 0")
    x = y = np.empty(0)
    if rule == ISOTONIC:
        x, y = own.floats("x", (None,)), own.floats("y", (None,))
        if not len(x) or len(x) != len(y) or not bool((x[1:] >= x[:-1]).all()):
            raise FormatError("scorer", "its points must ascend")
    factor, shift = own.number(header.get("factor", 1.0)), own.number(header.get("shift", 0.0))
    if rule == ODDS and not factor > 0.0:
        raise FormatError("scorer", "odds are multiplied by a positive number")
    own.nothing_else()
    grouped: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        at, dot, rest = name.partition(".")
        if dot:
            grouped.setdefault(at, {})[rest] = array
    if not set(grouped) <= {str(k) for k in range(len(entries))}:
        raise FormatError("scorer", "has arrays that its header does not mention")
    parts = [_part(entry, grouped.get(str(k), {}), schema, depth) for k, entry in enumerate(entries)]
    if len({part.outputs for part in parts}) != 1 or (rule != MEAN and parts[0].outputs != 2):
        raise FormatError("scorer", "its parts have different numbers of classes")
    return CombinedScorer(Combination(rule, weights, factor, shift, x, y), parts, schema)


def _part(entry: object, arrays: Mapping[str, NDArray[Any]], schema: Schema, depth: int) -> Scorer:
    if isinstance(entry, dict):
        if entry.get("kind") == CombinedScorer.kind:
            return _read(entry, arrays, schema, depth + 1)
        for kind in (AdditiveScorer, TreesScorer):
            if entry.get("kind") == kind.kind:
                return kind.from_parts(entry, arrays, schema)
    raise FormatError("scorer", "has a part of a kind that is not supported")
