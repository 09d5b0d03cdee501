"""A model's answers: a row alone, and among others."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from modelbundle import golden
from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.scorers.base import take
from tests.conftest import Made


def read(made: Made, changed: str) -> Model:
    """The model; without contributions, or without bands, where that is asked for."""
    model = bundle.read(made.path)
    if changed == "unexplained":
        model.scorer.has_contributions = False
    if changed == "unbanded":
        return Model(model.version, replace(model.manifest, bands=()), model.scorer, model.reasons)
    return model


@pytest.mark.parametrize("every_term", [False, True])
@pytest.mark.parametrize("changed", ["", "unexplained", "unbanded"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_row_gets_the_same_bytes_alone_and_among_others(
    bundles: list[Made], which: int, changed: str, every_term: bool
) -> None:
    """The values, their kinds and their order; rows with missing and unseen values, risky or not, with up to four reasons."""
    model = read(bundles[which], changed)
    records = [dict(zip(model.schema.names, row, strict=True)) for row in golden.make(model.schema, 300)]
    asked = model.validator.records(records, len(records))
    alone = [model.answer(model.validator.record(record).row, every_term) for record in records]
    assert msgspec.json.encode(model.answers(asked.columns, every_term)) == msgspec.json.encode(alone)
    counts = {None if answer.reasons is None else len(answer.reasons) for answer in alone}
    assert counts == {None} if changed == "unexplained" else counts >= {0, 1, 2}


@pytest.mark.parametrize("every_term", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("changed", ["", "unexplained", "unbanded"])
@pytest.mark.parametrize("which", [0, 1])
def test_columns_of_answers_have_the_bytes_of_objects(
    bundles: list[Made], which: int, changed: str, named: bool, every_term: bool
) -> None:
    """With ids that need escapes, and warnings on some rows; also where no row has a reason."""
    model = read(bundles[which], changed)
    records = [dict(zip(model.schema.names, row, strict=True)) for row in golden.make(model.schema, 300)]
    asked = model.validator.records(records, len(records))
    assert asked.warnings
    ids = [f"{i:032x}" for i in range(300)]
    references = [None if i % 3 else f'"\\ü{i}' for i in range(300)] if named else None
    answers = model.answer_columns(asked.columns, every_term, ids, references, asked.warnings)
    assert answers.to_json() == msgspec.json.encode(list(answers))
    assert [answer.prediction_id for answer in answers] == ids
    safest = min(range(300), key=lambda i: answers[i].predict_proba[-1])
    alone = model.answer_columns([take(column, np.array([safest])) for column in asked.columns])
    assert alone.to_json() == msgspec.json.encode(alone.objects)
    assert alone[0].reasons in ([], None)
