"""The scorer that calls the unpickled pipeline, for models without a proven compiled scorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import CannotScore, FormatError
from modelbundle.schema import Schema
from modelbundle.scorers.base import AnyColumn, FloatArray, Row, Scorer, checked, columns_of, take
from modelbundle.scorers.inputs import Inputs

Found = TypeVar("Found", FloatArray, NDArray[np.intp])


class PipelineScorer(Scorer):
    """Calls ``estimator.predict_proba`` on what ``inputs`` makes of columns; a score is the probability of the last class."""

    kind: ClassVar[str] = "pipeline"
    link = "identity"

    def __init__(self, estimator: Any, schema: Schema, inputs: Inputs | None = None) -> None:
        self.estimator = estimator
        self.schema = schema
        self.inputs = inputs or Inputs(schema)

    def score_row(self, row: Row) -> float:
        """The probability of the last class; raises :class:`CannotScore`."""
        return float(self.score_columns(columns_of(row, self.schema))[0])

    def score_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """The probabilities of the last class, shape (n,); raises :class:`CannotScore`."""
        return np.ascontiguousarray(self.probability_matrix(columns)[:, -1])

    def probability_matrix(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """Probabilities of all classes, shape (n, classes), as the pipeline gives them.

        Raises :class:`CannotScore` for the rows for which the pipeline raises, whatever it raises, or gives no probability.
        """
        return self._each(columns, lambda rows: checked(self._probabilities(rows)))

    def probability_row(self, row: Row) -> list[float]:
        """See :meth:`Scorer.probability_row`."""
        found: list[float] = self.probability_matrix(columns_of(row, self.schema))[0].tolist()
        return found

    def predicted(self, columns: Sequence[AnyColumn]) -> NDArray[np.intp]:
        """The position of the class that ``estimator.predict`` answers for each of n rows, shape (n,).

        Raises :class:`CannotScore` for the rows for which it raises, or answers what is none of its classes.
        """
        return self._each(columns, self._positions)

    def _probabilities(self, columns: Sequence[AnyColumn]) -> FloatArray:
        return np.asarray(self.estimator.predict_proba(self.inputs.frame(columns)), dtype=np.float64)

    def _positions(self, columns: Sequence[AnyColumn]) -> NDArray[np.intp]:
        positions = {label: k for k, label in enumerate(np.asarray(self.estimator.classes_).tolist())}
        found = np.asarray(self.estimator.predict(self.inputs.frame(columns))).tolist()
        return np.array([positions[label] for label in found], dtype=np.intp)

    def _each(self, columns: Sequence[AnyColumn], call: Callable[[Sequence[AnyColumn]], Found]) -> Found:
        """What ``call`` answers for the rows, which are halved where it raises until the rows for which it does are found."""
        try:
            return call(columns)
        except CannotScore:
            raise
        except Exception as error:
            waiting = [(np.arange(len(columns[0])), error)]
        whole: Any = None
        wrong: dict[int, str] = {}
        while waiting:
            part, why = waiting.pop()
            if len(part) == 1:
                wrong[int(part[0])] = f"it raises {type(why).__name__}"
                continue
            for half in (part[len(part) // 2 :], part[: len(part) // 2]):
                try:
                    found: Any = call([take(column, half) for column in columns])
                except CannotScore as some:
                    wrong.update({int(half[row]): reason for row, reason in some.rows.items()})
                except Exception as other:
                    waiting.append((half, other))
                else:
                    if whole is None:
                        whole = np.zeros((len(columns[0]), *found.shape[1:]), found.dtype)
                    whole[half] = found
        if wrong or whole is None:
            raise CannotScore(dict(sorted(wrong.items())))
        return cast(Found, whole)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """An empty header and no arrays: the bundle stores the pickle."""
        return {}, {}

    @classmethod
    def from_parts(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema
    ) -> PipelineScorer:
        """Raise :class:`FormatError`: a pipeline has no tables."""
        del header, arrays, schema
        raise FormatError("scorer", "a pipeline has no tables")
