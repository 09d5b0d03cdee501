"""``POST /invocations``: MLflow's payloads, and 400 where ``mlflow models serve`` answers 500."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from flask.testing import FlaskClient

from tests.conftest import LOAN
from tests.unit.services.predict.api.test_predict import assert_problem, post

FRAME = pd.DataFrame([LOAN, {**LOAN, "grade": "A", "emp_length": 3}])


def send(client: FlaskClient, document: Any, kind: str = "application/json") -> Any:
    body = document if isinstance(document, (str, bytes)) else json.dumps(document)
    return client.post("/invocations", data=body, content_type=kind)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"dataframe_split": json.loads(FRAME.to_json(orient="split"))}, "application/json"),
        ({"dataframe_records": json.loads(FRAME.to_json(orient="records"))}, "application/json"),
        ({"inputs": {k: [None if v != v else v for v in FRAME[k]] for k in FRAME}}, "application/json"),
        ({"instances": json.loads(FRAME.to_json(orient="records")), "params": {}}, "application/json; charset=utf-8"),
        (FRAME.to_csv(index=False), "text/csv"),
    ],
)
def test_every_form_gets_the_same_answers(client: FlaskClient, document: Any, kind: str) -> None:
    """As ``/predict`` gives them."""
    response = send(client, document, kind)
    assert response.status_code == 200, response.get_json()
    expected = post(client, [LOAN, {**LOAN, "grade": "A", "emp_length": 3}]).get_json()["predictions"]
    found = response.get_json()["predictions"]
    assert [a["predict_proba"] for a in found] == [a["predict_proba"] for a in expected]
    assert [a["reasons"] for a in found] == [a["reasons"] for a in expected]
    assert response.headers["X-Model-Version"] == expected[0]["model_version"]


def test_scalars_are_columns_of_one(client: FlaskClient) -> None:
    """``inputs`` may hold plain values."""
    found = send(client, {"inputs": LOAN}).get_json()["predictions"]
    assert [a["predict_proba"] for a in found] == [post(client, LOAN).get_json()["predict_proba"]]


def split(columns: Any, data: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": data}}


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({}, ""),
        ({"inputs": {}, "instances": []}, ""),
        ({"inputs": {}}, "/inputs"),
        ({"inputs": [[1, 2], [3, 4]]}, "/inputs"),
        ({"inputs": 3}, "/inputs"),
        ({"instances": []}, "/instances"),
        ({"dataframe_records": LOAN}, "/dataframe_records"),
        ({"dataframe_records": [{**LOAN, "amount": "1"}]}, "/dataframe_records/0/amount"),
        ({"inputs": {**LOAN, "grad": 1}}, "/inputs/grad"),
        ({"inputs": LOAN, "extra": 1}, "/extra"),
        ({"inputs": LOAN, "params": {"a": 1}}, "/params"),
        (split(list(LOAN), [list(LOAN.values())] * 2 + [[1]]), "/dataframe_split/data/2"),
        (split([*LOAN, "amount"], []), "/dataframe_split/data"),
        (split(["amount", "amount"], [[1, 2]]), "/dataframe_split/columns"),
        (split(list(LOAN), [[*list(LOAN.values())[:-1], -5]]), "/dataframe_split/data/0/4"),
        (split([*LOAN, "colour"], [[*LOAN.values(), 1]]), "/dataframe_split/columns/5"),
        (split(list(LOAN)[1:], [list(LOAN.values())[1:]]), "/dataframe_split/columns"),
        (split(None, None), "/dataframe_split/columns"),
        ({"dataframe_split": 7}, "/dataframe_split/columns"),
    ],
)
def test_what_does_not_fit_is_400_with_a_pointer(client: FlaskClient, document: Any, pointer: str) -> None:
    """Into what was sent; and MLflow's own members are there for its clients."""
    data = assert_problem(send(client, document), 400)
    assert pointer in [error["pointer"] for error in data["errors"]]
    assert data["error_code"] == "BAD_REQUEST"
    assert data["message"].startswith(data["detail"])


@pytest.mark.parametrize("body", ["", "{", "amount,int_rate\n1,2\n", FRAME.to_csv(index=True)])
def test_what_cannot_be_read_is_400(client: FlaskClient, body: str) -> None:
    for kind in ("application/json", "text/csv"):
        assert_problem(send(client, body, kind), 400)


def test_the_bound_holds(client: FlaskClient) -> None:
    """Whatever the form."""
    csv = FRAME.to_csv(index=False)
    many = csv + csv.split("\n", 1)[1] * 40
    assert assert_problem(send(client, many, "text/csv"), 413)["max_rows"] == 50
    assert assert_problem(send(client, {"instances": [LOAN] * 51}), 413)["max_rows"] == 50
    assert assert_problem(send(client, "x", "text/plain"), 415)["error_code"] == "BAD_REQUEST"


def test_ping(client: FlaskClient) -> None:
    assert client.get("/ping").status_code == 200
