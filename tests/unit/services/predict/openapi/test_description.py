"""The description: made from the model, true of it, and its examples work when pressed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from flask.testing import FlaskClient

from services.predict.api.arrow.predict import MEDIA_TYPE as ARROW
from services.predict.openapi.description import REASONS
from services.predict.rollout.state_dir import StateDir
from tests.conftest import Made
from tests.unit.services.conftest import make_current

SCORES = ("/predict", "/invocations", "/v2/models/first/infer")


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").get_json()
    return found


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    """Whether ``value`` is what a schema of the document says (JSON Schema 2020-12, as OpenAPI 3.1 uses it)."""
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.validator_for(whole).is_valid(value)


def examples(content: dict[str, Any]) -> list[Any]:
    return [content["example"]] if "example" in content else [entry["value"] for entry in content["examples"].values()]


@pytest.mark.parametrize("path", SCORES)
def test_every_example_works_and_the_answer_is_as_described(
    client: FlaskClient, document: dict[str, Any], path: str
) -> None:
    """Each request example fits its schema and is answered 200 with what the schema of 200 says, without warnings."""
    operation = document["paths"][path]["post"]
    told = operation["responses"]["200"]["content"]
    pressed = 0
    for kind, content in operation["requestBody"]["content"].items():
        if kind == ARROW:  # binary
            assert path == "/predict"
            continue
        for example in examples(content):
            body = example if kind == "text/csv" else json.dumps(example)
            assert fits(document, content["schema"], example)
            response = client.post(path, data=body, content_type=kind)
            assert response.status_code == 200, response.get_data()
            assert "outside" not in response.get_data(as_text=True)
            if response.mimetype == "application/json":
                assert fits(document, told["application/json"]["schema"], response.get_json())
                pressed += 1
            for header in operation["responses"]["200"]["headers"]:
                assert header in response.headers
    assert pressed >= 1


def test_the_example_answer_is_the_answer(client: FlaskClient, document: dict[str, Any]) -> None:
    """To the last bit: it was computed, not written."""
    operation = document["paths"]["/predict"]["post"]
    record = operation["requestBody"]["content"]["application/json"]["examples"]["record"]["value"]
    told = operation["responses"]["200"]["content"]["application/json"]["example"]
    found = client.post("/predict", json=record, headers={"Idempotency-Key": "example"}).get_json()
    assert found == told


@pytest.mark.parametrize(
    ("change", "fit"),
    [
        ({}, True),
        ({"emp_length": None}, True),
        ({"id": "mine"}, True),
        ({"amount": -1}, False),
        ({"amount": None}, False),
        ({"amount": "12"}, False),
        ({"amount": True}, False),
        ({"int_rate": 1.01}, False),
        ({"grade": 3}, False),
        ({"grade": "x" * 257}, False),
        ({"colour": 1}, False),
        ({"id": ""}, False),
    ],
)
def test_the_schema_says_what_the_api_does(
    client: FlaskClient, document: dict[str, Any], change: dict[str, Any], fit: bool
) -> None:
    """What fits is answered 200, what does not 422."""
    record = {"amount": 12000, "int_rate": 0.13, "grade": "C", "purpose": "car", **change}
    schema = {"$ref": "#/components/schemas/Request"}
    for sent in (record, [record], {"records": [record]}, {name: [value] * 2 for name, value in record.items()}):
        assert fits(document, schema, sent) == fit
        assert client.post("/predict", json=sent).status_code == (200 if fit else 422)


def test_it_changes_with_the_model(client: FlaskClient, store: StateDir, bundles: list[Made]) -> None:
    """The document is that of the model that answers, and says which."""
    before = client.get("/openapi.json")
    make_current(store, bundles[1])
    after = client.get("/openapi.json")
    assert before.headers["X-Model-Version"] == bundles[0].sha256
    assert after.headers["X-Model-Version"] == bundles[1].sha256
    assert after.get_json()["info"]["title"] == "The second"
    assert "/v2/models/second/infer" in after.get_json()["paths"]


def test_every_error_that_is_described_has_a_meaning(document: dict[str, Any]) -> None:
    """The statuses of the catalogue, and only those; keys only where they are asked for."""
    for path in SCORES:
        statuses = {int(status) for status in document["paths"][path]["post"]["responses"]} - {200}
        assert statuses <= set(REASONS)
        assert not statuses & {401, 403}
    assert "securitySchemes" not in document["components"]


def test_all_that_can_be_asked_is_described(client: FlaskClient, document: dict[str, Any]) -> None:
    """Every route of the application, but for the pages and what is for operators."""
    rules = {rule.rule.replace("<name>", "first") for rule in client.application.url_map.iter_rules()}
    pages = {"/", "/static/<digest>/first", "/docs", "/docs/first"}
    pages |= {"/batch", "/batch/model.json", "/batch/template.csv"}
    pages |= {"/model-card", "/model-card/card.md", "/model-card/card.html", "/model-card/curves.json", "/monitor"}
    audits = {f"/predictions{rest}" for rest in ("", ".json", "/<own>", "/<own>/model-card")}
    audits |= {f"/deployments{rest}" for rest in ("", ".json", "/compare", "/compare.json")}
    left_out = {"/metrics", "/ping", "/openapi.json", *pages, *audits}
    versions = {rule for rule in rules if "<version>" in rule}  # the same, for the one version that is served
    assert set(document["paths"]) == rules - left_out - versions


def test_the_page_and_its_parts(client: FlaskClient) -> None:
    """Nothing of it comes from elsewhere, and a browser keeps it."""
    page = client.get("/docs").get_data(as_text=True)
    assert "http" not in page
    for part in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"):
        assert f"docs/{part}" in page or part == "start.js"
        response = client.get(f"/docs/{part}")
        assert response.status_code == 200
        again = client.get(f"/docs/{part}", headers={"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304
    assert client.get("/docs/../settings.py").status_code == 404
    assert client.get("/docs/swagger-ui.js").status_code == 404
