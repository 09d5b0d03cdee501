"""Records that are as regular as can be are decoded by the schema. It makes no difference to what is answered or refused."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from modelbundle.schema import Feature, Schema
from modelbundle.scorers.base import plain
from modelbundle.validation.problems import Invalid, TooManyRows
from modelbundle.validation.record_decoder import MOST_FEATURES, RecordDecoder, Unparsed
from modelbundle.validation.validator import Many, Validator
from services.predict.api import request_body
from services.predict.api.json_scan import most_keys
from services.predict.api.request_body import parse
from services.web.problem import Refused
from tests.conftest import LOAN
from tests.unit.services.predict.api.test_predict import assert_problem, post

SCHEMA = Schema(
    (
        Feature("amount", "number", required=True, minimum=0, observed=(1.0, 50.0)),
        Feature("odd /~ é", "number", required=False),
        Feature("grade", "category", required=True, categories=("A", "B")),
        Feature("purpose", "category", required=False),
    )
)
VALIDATOR = Validator(SCHEMA)
BIG = [
    "-0",
    "9007199254740993",
    "123456789012345678901234567890",
    "-18446744073709551617",
    "1e400",
    "1E-5",
    "5e-324",
    "01",
    "1.",
]
OTHER = [
    "null",
    "true",
    "[]",
    "{}",
    '"1"',
    '"A"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\u2028"',
    '"a\\u0000"',
    f'"{"x" * 3000}"',
    "NaN",
]
VALUES = {
    "amount": ["1", "2.5", "100", "-1", *BIG],
    "odd /~ é": ["1", "2.5", "null", *BIG],
    "grade": ['"A"', '"B"', '"C"', '"\\u0041"'],
    "purpose": ['"car"', '"boat"', "null", '""'],
    "id": ['"a"', "null", '"é"', '""', "1", f'"{"i" * 65}"'],
}


def document(draw: random.Random) -> str:
    """A list of records, most of them good, with few things that are not."""
    names = [*SCHEMA.names, *(["id"] if draw.random() < 0.4 else [])]
    wrong = draw.choice([0.0, 0.0, 0.01, 0.1])
    space = draw.choice(["", "", " ", "\n"])
    texts = []
    for _ in range(draw.randint(0, 12)):
        own = [name for name in names if draw.random() >= wrong]
        if draw.random() < 0.3:
            draw.shuffle(own)
        own += [draw.choice([*names, "other", "ID"])] if draw.random() < wrong else []
        fields = []
        for name in own:
            known = VALUES.get(name, OTHER)
            value = draw.choice(
                [*known, *OTHER] if draw.random() < wrong else known[: 2 if draw.random() < 0.8 else None]
            )
            key = json.dumps(name, ensure_ascii=draw.random() < 0.5)
            fields.append(f"{key}{space if draw.random() < 0.1 else ''}:{space}{value}")
        texts.append("{" + f",{space}".join(fields) + "}")
    if draw.random() < wrong:
        texts.append(draw.choice([*OTHER, "", "1", "{"]))
    return f"[{','.join(texts)}]{space}" + ("x" if draw.random() < wrong / 2 else "")


def read(given: Any) -> Any:
    """What comes of a document: the rows with the bits of their numbers, or what is wrong."""
    try:
        found = VALIDATOR.read(given(), 10)
    except Invalid as invalid:
        return type(invalid), invalid.problems, invalid.total
    except (TooManyRows, Refused) as error:
        return type(error), str(error), getattr(error, "detail", ""), getattr(error, "errors", "")
    assert isinstance(found, Many)
    columns = [own.tobytes() if isinstance(own, np.ndarray) else own for own in map(plain, found.columns)]
    return columns, found.ids, found.warnings, found.pointer


@pytest.mark.parametrize("seed", range(20))
def test_both_ways_give_the_same(seed: int) -> None:
    """Rows, bits, ids, warnings, and every problem with its place, whatever is sent."""
    draw = random.Random(seed)
    regular = 0
    for _ in range(500):
        body = document(draw).encode("utf-8", "surrogatepass")
        unparsed = Unparsed(body, parse, most_keys)
        assert read(lambda: unparsed) == read(lambda: parse(body)), (seed, body)  # noqa: B023
        regular += VALIDATOR._decoder.columns(unparsed) is not None
    assert 40 < regular < 450


@pytest.mark.parametrize(
    "body",
    [
        '[{"amount": 1, "amount": 2, "grade": "A", "purpose": null, "odd /~ é": 1}]',
        '[{"amount":1,"amount":2,"grade":"A","purpose":"car","odd /~ é":1}]',
        '[{"amount" :1,"amount" :2,"grade":"A","purpose":"car","odd /~ é":1}]',
        '[{"amount":1,"grade":"A","purpose":"\\":","odd /~ é":1}]',
    ],
)
def test_a_key_that_may_be_there_twice_is_left_to_the_general_way(body: str) -> None:
    unparsed = Unparsed(body.encode(), parse, most_keys)
    assert VALIDATOR._decoder.columns(unparsed) is None
    assert read(lambda: unparsed) == read(lambda: parse(body.encode()))


def test_a_feature_may_be_called_id_and_a_wide_schema_is_left_to_the_general_way() -> None:
    """A record of many fields in another order would take a time that grows with their square."""
    own = Schema((replace(SCHEMA.features[0], name="id"),))
    found = RecordDecoder(own, with_id=False).columns(Unparsed(b'[{"id":1},{"id":2.5}]', parse, most_keys))
    assert found == ([(1.0, 2.5)], None)
    for name in ('a"b', "a\\b", "a\nb"):
        body = json.dumps([{name: 1.0}]).encode()
        other = Schema((replace(SCHEMA.features[0], name=name),))
        assert RecordDecoder(other, with_id=True).columns(Unparsed(body, parse, most_keys)) is None
        assert Validator(other).read(Unparsed(body, parse, most_keys), 10).rows == 1
    wide = Schema(tuple(replace(SCHEMA.features[0], name=f"n{i}") for i in range(MOST_FEATURES + 1)))
    body = json.dumps([dict.fromkeys(wide.names, 1.0)]).encode()
    assert RecordDecoder(wide, with_id=True).columns(Unparsed(body, parse, most_keys)) is None


def test_a_long_list_is_answered_as_a_short_one_is(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without ids; and what is wrong in it is named as ever."""
    loans = [{**LOAN, "amount": 1000 * i, "id": f"own-{i}"} for i in range(1, 50)]
    wrong = [*loans, {**LOAN, "grade": 5}]
    found = []
    for least in (10, 1 << 30):
        monkeypatch.setattr(request_body, "REGULAR", least)
        answers = [
            post(client, own).get_json()["predictions"] for own in (loans, [{**own, "id": None} for own in loans])
        ]
        problem = assert_problem(post(client, wrong), 422)
        refused = assert_problem(
            client.post("/predict", data=json.dumps(loans)[:-1], content_type="application/json"), 400
        )
        for answer in answers:
            for row in answer:
                del row["prediction_id"]
        found.append((answers, problem["errors"], refused["detail"]))
    assert found[0] == found[1]


def test_what_is_wrong_with_a_body_is_said_before_what_is_wrong_elsewhere(client: FlaskClient) -> None:
    """A key that cannot be used does not hide that the body is no JSON."""
    body = json.dumps([LOAN] * 200)[:-1]
    key = {"Idempotency-Key": "é"}
    assert len(body) > request_body.REGULAR
    whole = client.post("/predict", data=body + "]", content_type="application/json", headers=key)
    assert "Idempotency-Key" in assert_problem(whole, 400)["detail"]
    found = client.post("/predict", data=body, content_type="application/json", headers=key)
    assert "not valid JSON" in assert_problem(found, 400)["detail"]
