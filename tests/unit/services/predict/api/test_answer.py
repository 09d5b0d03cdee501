"""The answer object is stated once; what restates it for a reason of its own says the same."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import msgspec
from flask.testing import FlaskClient
from msgspec import UNSET

from late_payers.client import Prediction
from modelbundle.format import bundle
from modelbundle.model import Answer
from services.predict.openapi import schemas
from services.predictionlog.record import LoggedAnswer
from tests.conftest import LOAN, Made
from tests.unit.services.predict.api.test_predict import post

FIELDS = Answer.__struct_fields__


def test_the_json_object_has_the_fields_in_order(client: FlaskClient) -> None:
    """``contributions`` only where it was asked for."""
    assert tuple(post(client, LOAN, "?contributions=all").get_json()) == FIELDS
    assert tuple(post(client, LOAN).get_json()) == tuple(name for name in FIELDS if name != "contributions")


def test_the_openapi_schema_has_the_same_fields(bundles: list[Made]) -> None:
    """And requires those that every answer has."""
    schema = schemas.answer(bundle.read(bundles[0].path))
    assert tuple(schema["properties"]) == FIELDS
    assert schema["required"] == [name for name in FIELDS if name != "contributions"]


def test_the_log_keeps_fields_of_the_answer() -> None:
    """A field that the log parses has the answer's type; the others are JSON that it does not parse."""
    hints = get_type_hints(Answer)
    for name, kind in get_type_hints(LoggedAnswer).items():
        assert kind in (hints[name], msgspec.Raw)


def test_the_client_knows_every_field() -> None:
    """But for ``contributions``, which it does not ask for; it names the probabilities in its own words."""
    own = {field.name for field in dataclasses.fields(Prediction)} - {"probability", "probabilities"}
    assert own == set(FIELDS) - {"predict_proba", "contributions"}


def test_contributions_are_null_where_there_are_none(bundles: list[Made]) -> None:
    """The field says whether it was asked for, its value whether the scorer can tell."""
    model = bundle.read(bundles[0].path)
    row = model.validator.record(LOAN).row
    assert model.answer(row).contributions is UNSET
    model.scorer.has_contributions = False
    assert model.answer(row, every_term=True).contributions is None
