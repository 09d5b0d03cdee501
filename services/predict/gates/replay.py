"""Logged rows, validated and scored again by a model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import CannotScore
from modelbundle.model import Model
from modelbundle.scorers.base import Column, plain, take
from modelbundle.validation.problems import Invalid, escape
from modelbundle.validation.rules import UNKNOWN

Row = Mapping[str, Any]  # what the log keeps of a row: a value, or None, for each feature of the model that answered it
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FIRST, CHUNK = 20, 1000  # rows that are scored in one call: few at first, because a model may be slow
FEW = 50  # in one call after a row has failed: which ones fail is found by halving
MOST_RAISED = 200  # rows that failed, after which no further rows are tried


@dataclass(frozen=True, slots=True)
class Fit:
    """Which of n rows a model accepts, shape (n,), the columns of those, and by feature and rule how many others break it."""

    rows: Mask
    columns: list[Column]
    problems: Counter[tuple[str, str]]


def fit(model: Model, rows: Sequence[Row], lenient: bool = False) -> Fit:
    """Validate ``rows``. A value of a feature that the model lacks is an unknown field, or with ``lenient`` left out.

    A feature that the log has as null may have been left out of the request, so a null is never an unknown field.
    """
    known, index = model.schema.names, model.schema.index
    strange = {name for names in set(map(tuple, rows)) for name in names if name not in index}
    own = [{name: row[name] for name in known if name in row} for row in rows] if strange else rows
    fits = np.ones(len(rows), dtype=bool)
    problems: Counter[tuple[str, str]] = Counter()
    if strange and not lenient:
        for i, row in enumerate(rows):
            for name in strange:
                if row.get(name) is not None:
                    fits[i] = False
                    problems[name, UNKNOWN] += 1
    accepted = np.flatnonzero(fits).tolist()
    if not accepted:
        return Fit(fits, [], problems)
    try:
        return Fit(fits, _columns(model, [own[i] for i in accepted]), problems)
    except Invalid:
        pass
    for i in accepted:
        try:
            model.validator.record(own[i])
        except Invalid as invalid:
            fits[i] = False
            problems.update({(_feature(model, p.pointer), p.detail) for p in invalid.problems})
    accepted = np.flatnonzero(fits).tolist()
    return Fit(fits, _columns(model, [own[i] for i in accepted]) if accepted else [], problems)


def _columns(model: Model, rows: Sequence[Row]) -> list[Column]:
    return list(map(plain, model.validator.records(rows, len(rows)).columns))


def _feature(model: Model, pointer: str) -> str:
    names = {f"/{escape(name)}": name for name in model.schema.names}
    return names.get(pointer, pointer.removeprefix("/"))


def probabilities(model: Model, columns: Sequence[Column]) -> Floats:
    """The probabilities of n valid rows, shape (n, classes), with the bits of an answer; raises :class:`CannotScore`."""
    scorer = model.scorer
    if len(model.classes) > 2:
        return scorer.probability_matrix(columns)
    last = scorer.probabilities(scorer.score_columns(columns))
    return np.column_stack([1.0 - last, last])


def last_class(model: Model, rows: Sequence[Row]) -> list[float | None]:
    """The probability of the last class for each row; None where a row does not fit. Unknown features are left out."""
    found = fit(model, rows, lenient=True)
    scored: list[float | None] = [None] * len(rows)
    if found.columns:
        last = probabilities(model, found.columns)[:, -1].tolist()
        for i, probability in zip(np.flatnonzero(found.rows).tolist(), last, strict=True):
            scored[i] = probability
    return scored


def chosen(columns: Sequence[Column], rows: NDArray[np.intp]) -> list[Column]:
    """The given rows of columns."""
    return [plain(take(column, rows)) for column in columns]


@dataclass(frozen=True, slots=True)
class Scores:
    """Probabilities of n rows, shape (n, classes), NaN where none came, and which of the rows were ``tried``, shape (n,).

    ``error`` says why the first of them failed; empty where none did.
    """

    probabilities: Floats
    tried: Mask
    error: str

    @property
    def failed(self) -> Mask:
        """The rows that raised, or got NaN or a number outside 0 to 1, shape (n,)."""
        return self.tried & ~((self.probabilities >= 0) & (self.probabilities <= 1)).all(axis=1)


def score(model: Model, columns: Sequence[Column], seconds: float) -> Scores:
    """Score valid rows until the time is up, in their order, without those for which the model gives no probability."""
    total, begin = len(columns[0]), time.monotonic()
    scores = Scores(np.full((total, len(model.classes)), np.nan), np.zeros(total, dtype=bool), "")
    waiting: list[NDArray[np.intp]] = []
    next_row = raised = 0
    while raised < MOST_RAISED and (waiting or next_row < total):
        if not waiting:
            size = _affordable(next_row, time.monotonic() - begin, seconds)
            if not size:
                break
            size = min(size, FEW) if raised else size
            waiting.append(np.arange(next_row, min(next_row + size, total)))
            next_row = int(waiting[0][-1]) + 1
        part = waiting.pop()
        try:
            scores.probabilities[part] = probabilities(model, chosen(columns, part))
        except CannotScore as error:
            raised += len(error.rows)
            scores = replace(scores, error=scores.error or next(iter(error.rows.values())))
            scores.tried[part[list(error.rows)]] = True
            if rest := sorted(set(range(len(part))) - set(error.rows)):
                waiting.append(part[rest])
            continue
        scores.tried[part] = True
    return scores


def _affordable(done: int, took: float, seconds: float) -> int:
    """How many rows to score in the next call: as many as the time that is left allows, by what the rows before took."""
    if done == 0:
        return FIRST
    return int(min(CHUNK, (seconds - took) * done / max(took, 1e-6))) if took < seconds else 0
