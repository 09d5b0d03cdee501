"""Compares two models on batches of rows. The result is JSON: see :meth:`Comparison.result`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comparison.rows import Batch
from modelbundle.explain.curves import what_if
from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.scorers.base import AnyColumn, Coded, plain, take
from modelbundle.statistics import (
    Estimate,
    Floats,
    Labels,
    Z,
    predicted_to_observed,
    roc_auc,
    roc_auc_difference,
)
from modelbundle.validation.column_validator import misfits
from portfolio.scoring import column_of
from services.predict.gates import contract, scores
from services.predict.gates.gate import Rules
from services.predict.gates.replay import probabilities, score

MOVERS = 10
TERMS = 4
STEPS = 25  # of a number's curve
SLICES = 4  # of a number: quarters of the first batch
MOST_SLICES = 20  # categories of a feature
EDGE = 1e-15

Mask = NDArray[np.bool_]


@dataclass
class Slice:
    """Rows that have something in common."""

    rows: int = 0
    before: float = 0.0
    after: float = 0.0


@dataclass
class Comparison:
    """Adds batches up. ``before`` is the current model, ``after`` the candidate."""

    before: Model
    after: Model
    read: int = 0
    unreadable: int = 0
    accepted: int = 0
    refused: int = 0
    only_after: int = 0
    unanswered: list[int] = field(default_factory=lambda: [0, 0])
    refused_by: Counter[str] = field(default_factory=Counter)
    outside: list[str] = field(default_factory=list)
    found: list[tuple[Floats, Floats, NDArray[np.int8]]] = field(default_factory=list)
    movers: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    slices: dict[tuple[str, str], Slice] = field(default_factory=dict)
    edges: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    spans: dict[str, tuple[float, ...]] = field(default_factory=dict)
    typical: dict[str, Any] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Validate and score a batch with both models."""
        self.read += len(batch.rows) + batch.unreadable
        self.unreadable += batch.unreadable
        if not len(batch.rows):
            return
        old, accepts_old, _ = _validated(self.before, batch)
        new, accepts_new, why = _validated(self.after, batch)
        self.accepted += int(accepts_old.sum())
        self.only_after += int((accepts_new & ~accepts_old).sum())
        self.refused += int((accepts_old & ~accepts_new).sum())
        for name, bad in why.items():
            if count := int((bad & accepts_old).sum()):
                self.refused_by[name] += count
        rows = np.flatnonzero(accepts_old & accepts_new)
        if len(rows):
            self._score([take(c, rows) for c in old], [take(c, rows) for c in new], batch.outcomes[rows])

    def _score(self, old: list[AnyColumn], new: list[AnyColumn], outcomes: NDArray[np.int8]) -> None:
        first, second = _last(self.before, old), _last(self.after, new)
        good = [(p >= 0) & (p <= 1) for p in (first, second)]
        self.unanswered = [had + int((~fine).sum()) for had, fine in zip(self.unanswered, good, strict=True)]
        rows = np.flatnonzero(good[0] & good[1])
        if not len(rows):
            return
        if len(rows) < len(first):
            old, new = [take(c, rows) for c in old], [take(c, rows) for c in new]
            first, second, outcomes = first[rows], second[rows], outcomes[rows]
        if not self.found:
            self._begin(old, new)
        self.found.append((first, second, outcomes))
        for place in np.argsort(-np.abs(second - first))[:MOVERS].tolist():
            self._move(old, new, place, float(first[place]), float(second[place]))
        self.movers = sorted(self.movers, key=lambda mover: -mover[0])[:MOVERS]
        for feature, column in zip(self.before.schema, old, strict=True):
            self._slice(feature, column, first, second)

    def _begin(self, old: list[AnyColumn], new: list[AnyColumn]) -> None:
        """What the first rows decide: quarters of numbers, a typical row, and features in another unit."""
        columns = [plain(c) for c in new]
        self.outside = contract.outside(self.before, self.after, columns)
        for model, own in ((self.after, new), (self.before, old)):
            for feature, column in zip(model.schema, own, strict=True):
                self.typical[feature.name] = _typical(feature, column)
        for feature, column in zip(self.before.schema, old, strict=True):
            if feature.kind == "number":
                values = np.asarray(plain(column), dtype=np.float64)
                known = values[~np.isnan(values)]
                if len(known):
                    self.spans[feature.name] = tuple(np.quantile(known, (0.01, 0.99)).tolist())
                    self.edges[feature.name] = np.unique(np.quantile(known, np.linspace(0, 1, SLICES + 1)[1:-1]))

    def _move(self, old: list[AnyColumn], new: list[AnyColumn], place: int, first: float, second: float) -> None:
        if len(self.movers) >= MOVERS and abs(second - first) <= self.movers[-1][0]:
            return
        rows = [_row(old, place), _row(new, place)]
        shown = dict(zip(self.after.schema.names, rows[1], strict=True)) | dict(
            zip(self.before.schema.names, rows[0], strict=True)
        )
        terms = _terms(self.before, self.after, rows)
        bands = [self.before.band(first), self.after.band(second)]
        mover = {"probability": [first, second], "bands": bands, "row": shown, "terms": terms}
        self.movers.append((abs(second - first), mover))

    def _slice(self, feature: Feature, column: AnyColumn, first: Floats, second: Floats) -> None:
        if feature.kind == "number":
            edges = self.edges.get(feature.name)
            if edges is None:
                return
            values = np.asarray(plain(column), dtype=np.float64)
            codes = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
            names = [*_ranges(edges), "missing"]
        else:
            coded = column if isinstance(column, Coded) else None
            texts = [str(v) if v is not None else "missing" for v in (coded.values if coded else plain(column))]
            distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
            at = np.array([distinct[text] for text in texts], dtype=np.intp)
            codes, names = (at.take(coded.codes) if coded else at), list(distinct)
        counts, sums, others = (np.bincount(codes, weight, len(names)) for weight in (None, first, second))
        for name, count, total, other in zip(names, counts.tolist(), sums.tolist(), others.tolist(), strict=True):
            if count:
                own = self.slices.setdefault((feature.name, name), Slice())
                own.rows, own.before, own.after = own.rows + int(count), own.before + total, own.after + other

    def result(self) -> dict[str, Any]:
        """All of it as JSON. Pairs are before and after."""
        facts: dict[str, Any] = {
            "models": [_about(self.before), _about(self.after)],
            "rows": self.read,
            "unreadable": self.unreadable,
            "accepted": self.accepted,
            "refused": self.refused,
            "refused_by": dict(self.refused_by.most_common()),
            "accepted_anew": self.only_after,
            "unanswered": self.unanswered,
            "schema": [*contract.differences(self.before, self.after), *self.outside],
            "scored": 0,
        }
        if not self.found:
            return facts
        first, second, outcomes = (np.concatenate(parts) for parts in zip(*self.found, strict=True))
        both = [np.column_stack([1 - p, p]) for p in (first, second)]
        facts |= {"scored": len(first), **scores.figures(self.before, self.after, *both)}
        facts["findings"] = scores.findings(
            self.before.classes[-1:], both[0][:, 1:], both[1][:, 1:], Rules().most_change
        )
        facts["bands"] = None
        if self.before.labels and self.after.labels:
            counts = scores.migration(self.before, self.after, first, second)
            facts["bands"] = {"before": self.before.labels, "after": self.after.labels, "rows": counts.tolist()}
        facts["movers"] = [mover for _, mover in self.movers]
        facts["slices"] = self._slices()
        facts["curves"] = self._curves()
        facts["outcomes"] = judged(first, second, outcomes)
        return facts

    def _slices(self) -> list[dict[str, Any]]:
        found = []
        for feature in self.before.schema:
            own = [(value, one) for (name, value), one in self.slices.items() if name == feature.name]
            if feature.kind == "category":
                own = sorted(own, key=lambda pair: -pair[1].rows)[:MOST_SLICES]
            for value, one in own:
                means = [one.before / one.rows, one.after / one.rows]
                found.append(
                    {"feature": feature.name, "title": feature.title, "value": value, "rows": one.rows, "mean": means}
                )
        return found

    def _curves(self) -> list[dict[str, Any]]:
        """Both models' probabilities of a typical row with one feature changed, for the features of both."""
        found = []
        for feature in self.before.schema:
            place = self.after.schema.index.get(feature.name)
            other = None if place is None else self.after.schema.features[place]
            if other is None or other.kind != feature.kind:
                continue
            values = self._steps(feature, other)
            try:
                pair = [
                    what_if(model, [self.typical.get(name) for name in model.schema.names], feature.name, values)
                    for model in (self.before, self.after)
                ]
            except Exception:  # a model that cannot answer some value has no curve; its rows are counted
                continue
            if not np.isfinite(pair).all():
                continue
            found.append(
                {
                    "feature": feature.name,
                    "title": feature.title,
                    "unit": feature.unit,
                    "values": values,
                    "probability": pair,
                }
            )
        return found

    def _steps(self, feature: Feature, other: Feature) -> list[Any]:
        """Categories that both models know, or even steps through nearly all values of the first rows."""
        if feature.kind == "category":
            return [name for name in feature.categories if name in other.categories] or list(feature.categories)
        low, high = self.spans.get(feature.name, (0.0, 1.0))
        steps: list[float] = np.unique(np.linspace(low, high, STEPS)).tolist()
        return steps


def _validated(model: Model, batch: Batch) -> tuple[list[AnyColumn], Mask, dict[str, Mask]]:
    """A model's columns, the rows that it accepts, and by feature the rows that it does not accept."""
    columns, bad = [], {}
    for feature in model.schema:
        column, wrong = column_of(batch.rows, feature, batch.text)
        columns.append(column)
        found = [mask for mask in (wrong, misfits(feature, column)) if mask is not None]
        if found:
            bad[feature.name] = np.logical_or.reduce(found)
    if batch.strict:
        for name, array in zip(batch.rows.schema.names, batch.rows.columns, strict=True):
            if name not in model.schema.index and (given := array.is_valid().to_numpy(zero_copy_only=False)).any():
                bad[name] = given
    accepted = ~np.logical_or.reduce(list(bad.values())) if bad else np.ones(len(batch.rows), dtype=bool)
    return columns, accepted, bad


def _last(model: Model, columns: list[AnyColumn]) -> Floats:
    """The probabilities of the last class, shape (n,). NaN for rows on which the model raises, as far as they are found soon."""
    try:
        return probabilities(model, columns)[:, -1]  # type: ignore[arg-type]
    except Exception:  # whatever it is: some rows have no answer
        return score(model, [plain(column) for column in columns], math.inf).probabilities[:, -1]


def judged(first: Floats, second: Floats, outcomes: NDArray[np.int8]) -> dict[str, Any] | None:
    """Figures of the rows with an outcome, paired, with intervals at 95 %; None without outcomes of both kinds."""
    known = outcomes >= 0
    labels: Labels = outcomes[known].astype(np.int64)
    if not 0 < labels.sum() < len(labels):
        return None
    pair = first[known], second[known]
    losses = [-np.log(np.clip(np.where(labels == 1, p, 1 - p), EDGE, None)) for p in pair]
    squares = [(p - labels) ** 2 for p in pair]

    def entry(name: str, better: str, values: Sequence[Estimate], difference: Estimate | None) -> dict[str, Any]:
        own = difference.to_json() if difference else None
        return {
            "name": name,
            "better": better,
            "before": values[0].to_json(),
            "after": values[1].to_json(),
            "difference": own,
        }

    figures = [
        entry("ROC-AUC", "higher", [roc_auc(labels, p) for p in pair], roc_auc_difference(labels, *pair)),
        entry("Log loss", "lower", [_mean(v) for v in losses], _mean(losses[1] - losses[0])),
        entry("Brier score", "lower", [_mean(v) for v in squares], _mean(squares[1] - squares[0])),
        entry("Predicted to observed", "near 1", [predicted_to_observed(labels, p) for p in pair], None),
    ]
    return {"rows": len(labels), "positives": int(labels.sum()), "figures": figures}


def _mean(values: Floats) -> Estimate:
    """A mean with the normal interval of its standard error."""
    reach = Z * float(values.std(ddof=1)) / len(values) ** 0.5
    value = float(values.mean())
    return Estimate(value, value - reach, value + reach)


def _about(model: Model) -> dict[str, Any]:
    return {
        "model_version": model.version,
        "name": model.manifest.name,
        "title": model.manifest.title,
        "positive": model.manifest.positive,
    }


def _row(columns: Sequence[AnyColumn], place: int) -> list[Any]:
    cells = [plain(take(column, np.array([place])))[0] for column in columns]
    return [None if v is None or v != v else v if isinstance(v, str) else float(v) for v in cells]


def _typical(feature: Feature, column: AnyColumn) -> Any:
    """The median of a number, the most frequent category."""
    values = plain(column)
    if feature.kind == "number":
        known = np.asarray(values, dtype=np.float64)
        known = known[~np.isnan(known)]
        return float(np.sort(known)[len(known) // 2]) if len(known) else None
    return Counter(values).most_common(1)[0][0]


def _terms(before: Model, after: Model, rows: Sequence[list[Any]]) -> list[dict[str, Any]]:
    """The terms that change most between two models, in log-odds; empty where a model has no exact ones."""
    if not (before.scorer.has_contributions and after.scorer.has_contributions):
        return []
    old, new = (
        dict(zip(model.schema.names, model.scorer.explain_row(row)[1], strict=True))
        for model, row in zip((before, after), rows, strict=True)
    )
    names = sorted({*old, *new}, key=lambda name: (-abs(new.get(name, 0.0) - old.get(name, 0.0)), name))
    return [{"feature": name, "terms": [old.get(name, 0.0), new.get(name, 0.0)]} for name in names[:TERMS]]


def _ranges(edges: NDArray[np.float64]) -> list[str]:
    """Names of the half-open ranges between edges."""
    texts = [f"{edge:g}" for edge in edges.tolist()]
    return [
        f"below {texts[0]}",
        *(f"{a} to {b}" for a, b in pairwise(texts)),
        f"{texts[-1]} and more",
    ]
