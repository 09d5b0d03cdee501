"""The challenger's probabilities of logged rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelbundle.model import Model
from modelbundle.validation.problems import Invalid


def probabilities(model: Model, inputs: Sequence[dict[str, Any]]) -> list[float | None]:
    """The probability of the last class for each row, with the bits that an answer would have; None where a row does not fit.

    Features that the model's schema does not have are left out: the champion may have features that the challenger lacks.
    """
    own = [{name: row[name] for name in model.schema.names if name in row} for row in inputs]
    fitting = list(range(len(own)))
    try:
        columns = model.validator.records(own, len(own)).columns
    except Invalid:
        fitting = [i for i in fitting if _fits(model, own[i])]
        if not fitting:
            return [None] * len(own)
        columns = model.validator.records([own[i] for i in fitting], len(own)).columns
    scorer = model.scorer
    if len(model.classes) > 2:
        found = scorer.probability_matrix(columns)[:, -1].tolist()
    else:
        found = scorer.probabilities(scorer.score_columns(columns)).tolist()
    scored: list[float | None] = [None] * len(own)
    for i, probability in zip(fitting, found, strict=True):
        scored[i] = probability
    return scored


def _fits(model: Model, row: dict[str, Any]) -> bool:
    try:
        model.validator.record(row)
    except Invalid:
        return False
    return True
