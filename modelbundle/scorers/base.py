"""The interface of scorers: from validated values to a score, and from a score to a probability."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import CannotScore
from modelbundle.schema import Schema
from modelbundle.scorers.probability import expit, expit_array

Value = float | str | None
Row = Sequence[Value]
Column = NDArray[np.float64] | list[str | None]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coded:
    """A dictionary-encoded column: row i has ``values[codes[i]]``.

    A result that depends only on the value is computed once per distinct value, and looked up per row.
    """

    codes: NDArray[np.intp]
    values: Column

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> Value:
        value: Value = self.values[self.codes[row]]
        return value

    def plain(self) -> Column:
        """The column with one value per row."""
        if isinstance(self.values, np.ndarray):
            return self.values.take(self.codes)
        return [self.values[code] for code in self.codes.tolist()]


AnyColumn = Column | Coded
NO_PROBABILITY = "a probability is not from 0 to 1"


def checked(probabilities: FloatArray) -> FloatArray:
    """``probabilities``, shape (n,) or (n, classes). Raises :class:`CannotScore` for rows with NaN or a number outside 0 to 1.

    Every probability of every scorer goes through here, or through the same comparison of a single row.
    """
    fits = (probabilities >= 0.0) & (probabilities <= 1.0)
    if not fits.all():
        wrong = np.flatnonzero(~fits.reshape(len(fits), -1).all(axis=1))
        raise CannotScore(dict.fromkeys(wrong.tolist(), NO_PROBABILITY))
    return probabilities


def plain(column: AnyColumn) -> Column:
    """``column`` with one value per row."""
    return column.plain() if isinstance(column, Coded) else column


def take(column: AnyColumn, rows: NDArray[np.intp]) -> AnyColumn:
    """The given rows of a column."""
    if isinstance(column, Coded):
        return Coded(column.codes.take(rows), column.values)
    return column.take(rows) if isinstance(column, np.ndarray) else [column[row] for row in rows.tolist()]


def columns_of(row: Row, schema: Schema) -> list[Column]:
    """One row as columns of length one."""
    return [
        np.array([np.nan if value is None else value], dtype=np.float64) if f.kind == "number" else [value]  # type: ignore[list-item]
        for value, f in zip(row, schema, strict=True)
    ]


class Scorer(ABC):
    """The interface of all scorers.

    A *row* has one value per feature of the schema, in order: float or None (missing) for a number, str or None for a
    category. *Columns* are one array per feature: float64 with NaN for missing, or a list of str or None; either may be
    :class:`Coded`. Rows and columns give the same bits for the same values.

    ``link`` is "logit" for scores that are the log-odds of the last class, "identity" for its probability.
    """

    kind: ClassVar[str]
    link: Literal["logit", "identity"] = "logit"
    has_contributions: bool = False
    baseline: float = 0.0

    @property
    def outputs(self) -> int:
        """The number of classes that :meth:`probability_matrix` has."""
        return 2

    @abstractmethod
    def score_row(self, row: Row) -> float:
        """The score of one row."""

    @abstractmethod
    def score_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """The scores of n rows, shape (n,), the same bits as :meth:`score_row` of each."""

    def contributions_row(self, row: Row) -> list[float]:
        """One contribution per feature, in log-odds relative to the average row; with ``baseline`` they add up to the score."""
        del row
        raise TypeError(f"a {self.kind} scorer has no exact contributions")

    def explain_row(self, row: Row) -> tuple[float, list[float]]:
        """:meth:`score_row` and :meth:`contributions_row` of one row, from one set of look-ups."""
        return self.score_row(row), self.contributions_row(row)

    def probability_matrix(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """Probabilities of all classes, shape (n, classes); raises :class:`CannotScore`."""
        last = self.probabilities(self.score_columns(columns))
        return np.column_stack([1.0 - last, last])

    def probability_row(self, row: Row) -> list[float]:
        """Probabilities of all classes for one row, the same bits as :meth:`probability_matrix`."""
        last = self.probability(self.score_row(row))
        return [1.0 - last, last]

    def contributions_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """:meth:`contributions_row` of n rows, shape (n, features)."""
        del columns
        raise TypeError(f"a {self.kind} scorer has no exact contributions")

    def explain_columns(self, columns: Sequence[AnyColumn]) -> tuple[FloatArray, FloatArray]:
        """:meth:`score_columns` and :meth:`contributions_columns` of n rows, from one set of look-ups."""
        return self.score_columns(columns), self.contributions_columns(columns)

    def fit_averages(self, columns: Sequence[AnyColumn]) -> None:
        """Set the average terms of the training columns, which contributions are relative to."""
        del columns
        raise TypeError(f"a {self.kind} scorer has no exact contributions")

    def cuts(self, feature: int) -> list[float]:
        """The finite values of a number at which the score changes its rule, ascending; empty for a category."""
        del feature
        return []

    def labels(self, feature: int) -> tuple[str, ...]:
        """The labels of a category that the score distinguishes; empty for a number."""
        del feature
        return ()

    @abstractmethod
    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON header and arrays, from which :meth:`from_parts` makes an equal scorer."""

    @classmethod
    @abstractmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema) -> Scorer:
        """The scorer of a bundle; raises :class:`modelbundle.errors.FormatError` for a wrong shape, type or index."""

    def probability(self, score: float) -> float:
        """The probability of the last class for a score."""
        return expit(score) if self.link == "logit" else score

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """:meth:`probability` of every score, the same bits; raises :class:`CannotScore`."""
        return checked(expit_array(scores) if self.link == "logit" else scores)
