"""``POST /predict``, as an application developer meets it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelbundle.format import bundle
from services.predict.rollout.state_dir import StateDir
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current

MODEL_KEYS = {
    "prediction",
    "predict_proba",
    "model_version",
    "prediction_id",
    "id",
    "band",
    "baseline",
    "reasons",
    "warnings",
}


def post(client: FlaskClient, document: Any, query: str = "", **headers: str) -> Any:
    return client.post(f"/predict{query}", data=json.dumps(document), content_type="application/json", headers=headers)


def assert_problem(response: Any, status: int) -> dict[str, Any]:
    """The one shape of every error."""
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    data: dict[str, Any] = response.get_json()
    assert data["status"] == status
    assert data["title"]
    assert data["detail"]
    assert data["request_id"] == response.headers["X-Request-Id"]
    assert all(set(error) == {"pointer", "detail"} for error in data["errors"])
    return data


def test_a_record_gets_one_object(client: FlaskClient, bundles: list[Made]) -> None:
    """Every key of the contract, and the answer names its model in its headers."""
    response = post(client, {**LOAN, "id": "loan-7"})
    answer = response.get_json()
    assert response.status_code == 200
    assert set(answer) == MODEL_KEYS
    assert answer["id"] == "loan-7"
    assert answer["prediction"] in (0, 1)
    assert sum(answer["predict_proba"]) == pytest.approx(1)
    assert answer["band"] in ("low", "moderate", "high")
    assert response.headers["X-Model-Version"] == answer["model_version"] == bundles[0].sha256
    assert response.headers["X-Model-Generation"] == "1"


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ([LOAN], 1),
        ([LOAN, LOAN], 2),
        ({"records": [LOAN]}, 1),
        ({k: [v, v, v] for k, v in LOAN.items()}, 3),
    ],
)
def test_lists_records_and_longer_columns_get_predictions(client: FlaskClient, document: Any, rows: int) -> None:
    """In order, with the model's version beside them, and the same bits as one record alone."""
    alone = post(client, LOAN).get_json()
    answer = post(client, document).get_json()
    assert set(answer) == {"predictions", "model_version"}
    assert len(answer["predictions"]) == rows
    for prediction in answer["predictions"]:
        assert {k: v for k, v in prediction.items() if k not in ("prediction_id", "warnings")} == {
            k: v for k, v in alone.items() if k not in ("prediction_id", "warnings")
        }
    assert len({p["prediction_id"] for p in answer["predictions"]}) == rows


def test_the_original_clients_payload_works_unchanged(client: FlaskClient) -> None:
    """Columns of length one get one object with prediction, predict_proba and model_version."""
    answer = post(client, {k: [v] for k, v in LOAN.items()}).get_json()
    assert {"prediction", "predict_proba", "model_version"} <= set(answer)


def test_contributions_add_up_to_the_log_odds(client: FlaskClient, bundles: list[Made]) -> None:
    """``?contributions=all`` returns every term; with the baseline they are the score."""
    answer = post(client, LOAN, "?contributions=all").get_json()
    model = bundle.read(bundles[0].path)
    score = model.scorer.score_row(model.validator.record(LOAN).row)
    total = answer["baseline"]
    for term in answer["contributions"].values():
        total += term
    assert set(answer["contributions"]) == set(model.schema.names)
    assert total == pytest.approx(score, abs=1e-9)
    assert_problem(post(client, LOAN, "?contributions=some"), 422)


def test_reasons_are_the_largest_disclosable_shortfalls(client: FlaskClient) -> None:
    """At most four, the largest first, never the lender's own judgement, and they are the contributions."""
    risky = {"amount": 39000, "int_rate": 0.29, "grade": "D", "purpose": "boat", "emp_length": None}
    answer = post(client, risky, "?contributions=all").get_json()
    contributions = [reason["contribution"] for reason in answer["reasons"]]
    assert 0 < len(contributions) <= 4
    assert contributions == sorted(contributions, reverse=True)
    assert "int_rate" not in {reason["feature"] for reason in answer["reasons"]}
    for reason in answer["reasons"]:
        assert reason["contribution"] == answer["contributions"][reason["feature"]]
    texts = {reason["feature"]: reason["text"] for reason in answer["reasons"]}
    assert texts["purpose"] == "Loans for boats are repaid late more often"


def test_a_retry_with_an_idempotency_key_is_the_same_prediction(client: FlaskClient) -> None:
    """Another row, another key or another position is another prediction."""

    def ids(document: Any, key: str) -> list[str]:
        answer = post(client, document, **{"Idempotency-Key": key}).get_json()
        return [p["prediction_id"] for p in answer.get("predictions", [answer])]

    assert ids(LOAN, "k") == ids(LOAN, "k")
    assert ids([LOAN, LOAN], "k") == ids([LOAN, LOAN], "k")
    assert ids([LOAN], "k") == ids(LOAN, "k")
    distinct = [*ids([LOAN, LOAN], "k"), *ids(LOAN, "l"), *ids({**LOAN, "amount": 1}, "k")]
    assert len(set(distinct)) == len(distinct)


def test_bad_input_names_every_problem_and_no_value(client: FlaskClient) -> None:
    """422, with a pointer and an expectation for each."""
    response = post(client, {**LOAN, "amount": "SECRET", "int_rate": 12, "grad": "C"})
    data = assert_problem(response, 422)
    assert {e["pointer"] for e in data["errors"]} == {"/amount", "/int_rate", "/grad"}
    assert "SECRET" not in response.get_data(as_text=True)


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (400, {"data": b"{", "content_type": "application/json"}),
        (400, {"data": b"", "content_type": "application/json"}),
        (400, {"data": b'{"amount": 1, "amount": 2}', "content_type": "application/json"}),
        (413, {"data": b" " * 100_001, "content_type": "application/json"}),
        (413, {"data": json.dumps([LOAN] * 51).encode(), "content_type": "application/json"}),
        (415, {"data": b"{}", "content_type": "text/plain"}),
        (415, {"data": b"{}", "content_type": "application/json; charset=latin-1"}),
        (415, {"data": b"{}", "content_type": "application/json", "headers": {"Content-Encoding": "gzip"}}),
        (422, {"data": b"[]", "content_type": "application/json"}),
        (422, {"data": b"7", "content_type": "application/json"}),
    ],
)
def test_every_error_has_the_one_shape(client: FlaskClient, status: int, arguments: dict[str, Any]) -> None:
    """Whatever goes wrong with a request."""
    assert_problem(client.post("/predict", **arguments), status)


def test_json_may_be_declared_in_its_variants(client: FlaskClient) -> None:
    """A +json type, and UTF-8 said aloud."""
    for kind in ("application/json; charset=utf-8", "application/json;charset=UTF-8", "application/vnd.lender+json"):
        assert client.post("/predict", data=json.dumps(LOAN), content_type=kind).status_code == 200


def test_unknown_addresses_and_methods_are_problems(client: FlaskClient) -> None:
    """404, and 405 with what is allowed."""
    assert_problem(client.get("/nowhere"), 404)
    response = client.get("/predict")
    assert_problem(response, 405)
    assert "POST" in response.headers["Allow"]


def test_a_request_id_is_kept_if_it_is_one(client: FlaskClient) -> None:
    """What is no plain token is replaced."""
    assert post(client, LOAN, **{"X-Request-Id": "abc-123"}).headers["X-Request-Id"] == "abc-123"
    assert post(client, LOAN, **{"X-Request-Id": "a b"}).headers["X-Request-Id"] != "a b"


def test_a_worker_that_lacks_the_generation_loads_it_before_it_answers(
    client: FlaskClient, store: StateDir, bundles: list[Made]
) -> None:
    """Never an older one: the flip alone changes the next answer, with nobody having prepared it."""
    assert post(client, LOAN).headers["X-Model-Version"] == bundles[0].sha256
    make_current(store, bundles[1])
    response = post(client, LOAN)
    assert response.headers["X-Model-Version"] == bundles[1].sha256
    assert response.headers["X-Model-Generation"] == "2"


def test_a_generation_that_cannot_be_loaded_is_a_503_and_never_the_old_model(
    client: FlaskClient, store: StateDir, bundles: list[Made]
) -> None:
    """The file behind the current generation is gone: no answer is better than a wrong one."""
    assert post(client, LOAN).status_code == 200
    make_current(store, bundles[1])
    store.bundle(bundles[1].sha256).write_bytes(b"PK\x03\x04 damaged")
    response = post(client, LOAN)
    assert_problem(response, 503)
    assert response.headers["Retry-After"] == "1"
    assert client.get("/readyz").status_code == 503


def test_a_bug_of_ours_is_a_problem_with_the_request_id_and_nothing_else(
    client: FlaskClient, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """No trace, no value, no path. The log has the frames and the types, and no exception's text."""

    value = "SECRET"

    def broken(*_: Any) -> None:
        try:
            raise KeyError(value)
        except KeyError as error:
            raise ZeroDivisionError(value) from error

    monkeypatch.setattr("services.predict.api.request_body.parse", broken)
    response = post(client, LOAN)
    assert_problem(response, 500)
    assert "SECRET" not in response.get_data(as_text=True)
    bug, _ = map(json.loads, capfd.readouterr().out.splitlines())
    assert "builtins.KeyError" in bug["trace"]
    assert bug["trace"].endswith("builtins.ZeroDivisionError")
    assert "in broken" in bug["trace"]
    assert "SECRET" not in json.dumps(bug)


def test_the_manifest_is_shown_without_its_golden_rows(client: FlaskClient, bundles: list[Made]) -> None:
    """``GET /model``."""
    data = client.get("/model").get_json()
    assert data["model_version"] == bundles[0].sha256
    assert data["name"] == "first"
    assert "golden" not in data
    assert data["scorer"]["proof"]["max_difference"] <= 1e-12
