"""The Open Inference Protocol: its endpoints, its tensors, its errors. A real client is in ``tests/integration``."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import LOAN, Made
from tests.unit.services.predict.api.test_predict import assert_problem, post

URL = "/v2/models/first/infer"


def tensor(name: str, values: list[Any], **changes: Any) -> dict[str, Any]:
    kind = "BYTES" if isinstance(values[0], str) else "FP64"
    return {"name": name, "datatype": kind, "shape": [len(values)], "data": values, **changes}


def inputs(rows: int = 1, **changes: Any) -> list[dict[str, Any]]:
    return [tensor(name, [value] * rows, **changes) for name, value in LOAN.items() if value is not None]


def send(client: FlaskClient, document: Any, url: str = URL) -> Any:
    return client.post(url, data=json.dumps(document), content_type="application/json")


def test_what_is_served(client: FlaskClient, bundles: list[Made]) -> None:
    """Server, health, and the model's tensors with their types."""
    assert client.get("/v2").get_json()["name"] == "peerloan"
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}
    data = client.get("/v2/models/first").get_json()
    assert data["versions"] == [bundles[0].sha256]
    assert {"name": "grade", "datatype": "BYTES", "shape": [-1]} in data["inputs"]
    assert {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]} in data["outputs"]
    for url in ("/v2/models/first/ready", f"/v2/models/first/versions/{bundles[0].sha256}/ready"):
        assert client.get(url).get_json() == {"name": "first", "ready": True}


def test_an_answer_is_that_of_predict(client: FlaskClient, bundles: list[Made]) -> None:
    """The same bits, row-major; the request's id comes back."""
    response = send(client, {"id": "a1", "inputs": inputs(3)})
    data = response.get_json()
    assert response.status_code == 200, data
    assert (data["model_name"], data["model_version"], data["id"]) == ("first", bundles[0].sha256, "a1")
    by_name = {output["name"]: output for output in data["outputs"]}
    answer = post(client, LOAN).get_json()
    assert by_name["predict_proba"]["shape"] == [3, 2]
    assert by_name["predict_proba"]["data"] == answer["predict_proba"] * 3
    assert by_name["predict"] == {
        "name": "predict",
        "datatype": "INT64",
        "shape": [3],
        "data": [answer["prediction"]] * 3,
    }
    assert json.loads(by_name["reasons"]["data"][2]) == answer["reasons"]


def test_columns_of_one_outputs_by_name_and_a_missing_value(client: FlaskClient) -> None:
    """[n, 1] in either writing; null is missing; only what is asked for comes."""
    nested = [{**t, "shape": [1, 1], "data": [t["data"]]} for t in inputs()]
    sent = {"inputs": [*nested, tensor("emp_length", [1.0]) | {"data": [None]}], "outputs": [{"name": "band"}]}
    data = send(client, sent).get_json()
    assert [output["name"] for output in data["outputs"]] == ["band"]
    assert data["outputs"][0]["data"] == [post(client, LOAN).get_json()["band"]]


def test_binary_tensors(client: FlaskClient) -> None:
    """Little-endian numbers and length-prefixed text after the JSON; NaN is missing."""
    head, tail = [], b""
    for name, value in LOAN.items():
        if isinstance(value, str):
            raw, kind = struct.pack("<I", len(value)) + value.encode(), "BYTES"
        else:
            raw, kind = struct.pack("<f", float("nan") if value is None else value), "FP32"
        if name == "amount":
            raw, kind = struct.pack("<q", value), "INT64"
        if name == "int_rate":
            raw, kind = struct.pack("<d", value), "FP64"
        head.append({"name": name, "datatype": kind, "shape": [1], "parameters": {"binary_data_size": len(raw)}})
        tail += raw
    document = json.dumps({"inputs": head}).encode()
    sizes = {"Inference-Header-Content-Length": str(len(document))}
    response = client.post(URL, data=document + tail, content_type="application/octet-stream", headers=sizes)
    assert response.status_code == 200, response.get_json()
    by_name = {output["name"]: output["data"] for output in response.get_json()["outputs"]}
    assert by_name["predict_proba"] == post(client, LOAN).get_json()["predict_proba"]
    for broken in (document + tail + b"x", document + tail[:-1]):
        refused = client.post(URL, data=broken, content_type="application/octet-stream", headers=sizes)
        assert assert_problem(refused, 400)["error"]
    for length in ("-1", "x", str(10**9), "²"):
        odd = {"Inference-Header-Content-Length": length.encode("utf-8").decode("latin-1")}
        assert_problem(client.post(URL, data=document + tail, headers=odd), 400)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({}, "/inputs"),
        ({"inputs": []}, "/inputs"),
        ({"inputs": [3]}, "/inputs/0"),
        ({"inputs": inputs(), "extra": 1}, "/extra"),
        ({"inputs": inputs(), "id": 3}, "/id"),
        ({"inputs": inputs(), "parameters": 3}, "/parameters"),
        ({"inputs": inputs(), "outputs": [{"name": "x"}]}, "/outputs/0/name"),
        ({"inputs": inputs(datatype="BOOL")}, "/inputs/0/datatype"),
        ({"inputs": inputs(datatype="FP64")}, "/inputs/2/datatype"),
        ({"inputs": inputs(datatype=["FP64"])}, "/inputs/0/datatype"),
        ({"inputs": inputs(shape=[2])}, "/inputs/0"),
        ({"inputs": inputs(shape=[1, 2])}, "/inputs/0/shape"),
        ({"inputs": inputs(shape=[True])}, "/inputs/0/shape"),
        ({"inputs": inputs(data=5)}, "/inputs/0/data"),
        ({"inputs": inputs(data=[[1], 2])}, "/inputs/0/data"),
        ({"inputs": inputs() + inputs()}, "/inputs/4/name"),
        ({"inputs": inputs()[1:]}, "/inputs"),
        ({"inputs": [*inputs(), tensor("colour", [1.0])]}, "/inputs/4"),
        ({"inputs": [*inputs(), tensor("emp_length", [-3.0])]}, "/inputs/4/data/0"),
        ({"inputs": [*inputs(), tensor("emp_length", [1.0, 2.0])]}, "/inputs/4"),
        ({"inputs": [*inputs(2), tensor("emp_length", [1.0, -2.0])]}, "/inputs/4/data/1"),
        ({"inputs": inputs(parameters={"binary_data_size": 4})}, "/inputs/0/data"),
    ],
)
def test_what_does_not_fit_is_400_with_a_pointer(client: FlaskClient, document: Any, pointer: str) -> None:
    """Into what was sent; ``error`` has the protocol's own message."""
    data = assert_problem(send(client, document), 400)
    assert pointer in [error["pointer"] for error in data["errors"]]
    assert data["error"].startswith(data["detail"])


def test_another_model_is_404(client: FlaskClient) -> None:
    for url in ("/v2/models/other/infer", f"/v2/models/first/versions/{'0' * 64}/infer"):
        assert "first" in assert_problem(send(client, {"inputs": inputs()}, url), 404)["error"]
    for url in ("/v2/models/other", "/v2/models/other/ready"):
        assert assert_problem(client.get(url), 404)["error"]


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", ""])
def test_a_compressed_body_is_415(client: FlaskClient, kind: str) -> None:
    """Whatever it is said to be."""
    answer = client.post(URL, data=b"\x1f\x8b", content_type=kind, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert answer.get_json()["error"] == "The body must not be compressed."


def test_null_is_what_is_not_there(client: FlaskClient) -> None:
    """As clients write it that always send every member."""
    document = {"id": None, "parameters": None, "outputs": None, "inputs": inputs(2, parameters=None)}
    assert send(client, document).status_code == 200
    assert send(client, {**document, "inputs": [{**one, "parameters": 5} for one in inputs(2)]}).status_code == 400


@pytest.mark.parametrize(("method", "url", "status"), [("GET", "/v2/x", 404), ("GET", URL, 405), ("POST", "/v2", 405)])
def test_every_error_of_the_protocol_has_its_member(client: FlaskClient, method: str, url: str, status: int) -> None:
    """Also where there is nothing."""
    answer = client.open(url, method=method)
    assert answer.status_code == status
    assert answer.get_json()["error"] == answer.get_json()["detail"]
    assert "error" not in client.get("/v22").get_json()


def test_the_description_names_the_outputs(client: FlaskClient) -> None:
    """As they are in the metadata."""
    body = client.get("/openapi.json").get_json()["paths"]["/v2/models/first/infer"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]["properties"]["outputs"]
    named = [output["name"] for output in client.get("/v2/models/first").get_json()["outputs"]]
    assert schema["items"]["properties"]["name"]["enum"] == named


def test_rows_are_counted_before_values_are_made(client: FlaskClient) -> None:
    """A shape beyond the limit is refused, and a binary tensor may not hold more than its shape says."""
    response = send(client, {"inputs": [tensor("amount", [1.0], shape=[1_000_000])]})
    assert_problem(response, 413)
    assert response.get_json()["max_rows"] > 0
    for datatype, rest in (("FP64", bytes(80)), ("BYTES", struct.pack("<I", 0) * 20)):
        sized = {"name": "x", "datatype": datatype, "shape": [1], "parameters": {"binary_data_size": 80}}
        head = json.dumps({"inputs": [sized]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        response = client.post(URL, data=head + rest, content_type="application/octet-stream", headers=headers)
        assert_problem(response, 400)
        assert response.get_json()["errors"][0]["detail"] == "has more values than its shape says"
