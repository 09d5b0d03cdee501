"""What the page for whole books is given: the schema, the API's own words, and a template that the API takes."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from flask.testing import FlaskClient

from services.predict.api.csv_answers import ADDED
from services.predict.rollout.state_dir import StateDir
from tests.conftest import Made


@pytest.fixture
def rules(client: FlaskClient) -> Any:
    return client.get("/batch/model.json").get_json()


def test_the_template_is_a_book_that_can_be_scored(client: FlaskClient, bundles: list[Made]) -> None:
    """It has the model's columns, and rows on which nothing is wrong."""
    response = client.get("/batch/template.csv")
    assert response.mimetype == "text/csv"
    assert "attachment" in response.headers["Content-Disposition"]
    assert response.text.splitlines()[0].split(",") == list(bundles[0].frame)
    scored = client.post("/predict", data=response.data, content_type="text/csv")
    rows = list(csv.DictReader(io.StringIO(scored.text)))
    assert len(rows) == 3
    assert all(row["probability"] and not row["error"] and not row["warnings"] for row in rows)


def test_the_rules_are_the_schema_in_the_apis_words(client: FlaskClient, rules: Any) -> None:
    """What the check in the browser says of a value is what the API's ``error`` column says of it."""
    assert rules["added"] == list(ADDED)
    assert rules["limits"]["rows"] > 0
    by_name = {feature["name"]: feature for feature in rules["features"]}
    good = {"amount": "1000", "int_rate": "0.1", "grade": "A", "purpose": "car", "emp_length": ""}
    expected = {
        "amount": {"-5": by_name["amount"]["below"], "x": rules["words"]["number"], "": rules["words"]["empty"]},
        "int_rate": {"1.5": by_name["int_rate"]["above"]},
        "purpose": {"x" * 300: by_name["purpose"]["long"]},
        "id": {"x" * 100: rules["words"]["id"]},
    }
    for name, wrong in expected.items():
        for value, words in wrong.items():
            row = {"id": "", **good, name: value}
            text = f"{','.join(row)}\n{','.join(row.values())}\n"
            answer = client.post("/predict", data=text, content_type="text/csv")
            assert next(csv.DictReader(io.StringIO(answer.text)))["error"] == f"{name}: {words}"


def test_the_page_names_every_column(client: FlaskClient, bundles: list[Made]) -> None:
    """Without JavaScript too, with a command that does the same."""
    response = client.get("/batch")
    assert response.status_code == 200
    assert all(f"<code>{name}</code>" in response.text for name in bundles[0].frame)
    assert "curl http://localhost/predict -H &#39;Content-Type: text/csv&#39;" in response.text.replace("'", "&#39;")


def test_without_a_model_the_page_says_so(client: FlaskClient, store: StateDir) -> None:
    """And what it would read is a 503 like every other."""
    (store.root / "current").unlink()
    assert client.get("/batch").status_code == 503
    assert client.get("/batch/model.json").status_code == 503
    assert client.get("/batch/template.csv").status_code == 503
