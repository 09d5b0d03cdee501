"""``POST /predict`` with Arrow: what JSON gets, as a table."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from flask.testing import FlaskClient

from services.predict.api.arrow import columns
from services.predict.api.arrow.predict import MEDIA_TYPE
from services.predict.app import Application
from services.predict.settings import Settings
from services.predictionlog import record, spool
from tests.conftest import LOAN, Made
from tests.unit.services.predict.api.test_predict import assert_problem
from tests.unit.services.predict.serving.test_shares import share

Json = dict[str, Any]
ROWS: Json = {
    "id": ["a", None, 'c"é', "d", "e"],
    "amount": [12000, 30000, 900000, 5000, 12000],
    "int_rate": [0.13, 0.29, 0.2, 0.05, 0.13],
    "grade": ["C", "D", "D", "A", "C"],
    "purpose": ["car", "boat", "rocket", "car", "boat"],
    "emp_length": [None, 3, None, 50, 0],
}


def encode(table: pa.Table | pa.RecordBatch, **options: Any) -> bytes:
    """The table as a stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write(table)
    return bytes(sink.getvalue())


def send(client: FlaskClient, body: Any, query: str = "", **headers: str) -> Any:
    """The response to a table, to columns or to bytes."""
    if isinstance(body, dict):
        body = pa.table(body)
    if not isinstance(body, bytes):
        body = encode(body)
    return client.post(f"/predict{query}", data=body, content_type=MEDIA_TYPE, headers=headers)


def post(client: FlaskClient, document: Json, query: str = "", **headers: str) -> Any:
    """The response to the same columns as JSON."""
    return client.post(f"/predict{query}", data=json.dumps(document), content_type="application/json", headers=headers)


def table_of(response: Any) -> pa.Table:
    """The answer."""
    assert response.status_code == 200, response.get_json()
    assert response.mimetype == MEDIA_TYPE
    table = pa.ipc.open_stream(response.data).read_all()
    table.validate(full=True)
    return table


def answers_of(response: Any) -> list[Json]:
    """The answers as JSON has them."""
    rows = table_of(response).to_pylist()
    for row in rows:
        assert row.pop("probability") == row["predict_proba"][-1]
    return rows


def without_ids(answers: list[Json]) -> list[Json]:
    """What does not differ between two requests."""
    return [{key: value for key, value in answer.items() if key != "prediction_id"} for answer in answers]


def logged(settings: Settings) -> list[Json]:
    """The rows of the prediction log, as the database would have them, without those that differ between two requests."""
    paths = sorted(path for path in settings.data_dir.glob("spool/**/*") if path.is_file())
    lines = [record.decode(line) for path in paths for line in spool.lines(path)]
    own = {"time", "request_id", "prediction_id"}
    return [{k: v for k, v in row.items() if k not in own} for line in lines for row in line.rows()]


def types() -> list[Json]:
    """The same columns, as those who write Arrow have them."""
    number = pa.array(ROWS["emp_length"])
    return [
        {},
        {"amount": pa.array(ROWS["amount"], pa.int32()), "emp_length": number.cast(pa.int8())},
        {"amount": pa.array(ROWS["amount"], pa.uint64()), "emp_length": number.cast(pa.float64())},
        {"amount": pa.array(ROWS["amount"], pa.float32()), "emp_length": pa.array([float("nan"), 3, None, 50, 0])},
        {"amount": pa.array(ROWS["amount"]).dictionary_encode(), "emp_length": number.cast(pa.float16())},
        {"grade": pa.array(ROWS["grade"], pa.large_string()), "id": pa.array(ROWS["id"], pa.large_string())},
        {"grade": pa.array(ROWS["grade"], pa.string_view()), "purpose": pa.array(ROWS["purpose"], pa.string_view())},
        {"grade": pa.array(ROWS["grade"]).dictionary_encode(), "id": pa.array(ROWS["id"]).dictionary_encode()},
        {
            "purpose": pa.DictionaryArray.from_arrays(
                pa.array([0, 1, 2, 0, 1], pa.int8()), [*ROWS["purpose"][:3], None, "", "x" * 90_000]
            )
        },
    ]


@pytest.mark.parametrize("query", ["", "?contributions=all"])
@pytest.mark.parametrize("changed", types())
def test_a_table_gets_what_the_same_columns_get_in_json(client: FlaskClient, changed: Json, query: str) -> None:
    """The same values, bit for bit, under the same names in the same order; whatever the types of the columns."""
    response = send(client, {**ROWS, **changed}, query)
    asked = post(client, ROWS, query)
    assert without_ids(answers_of(response)) == without_ids(asked.get_json()["predictions"])
    names = [name for name in table_of(response).schema.names if name != "probability"]
    assert names == [*asked.get_json()["predictions"][0]]
    for header in ("X-Model-Version", "X-Model-Generation"):
        assert response.headers[header] == asked.headers[header]


@pytest.mark.parametrize("sizes", [[1, 4], [2, 0, 3], [1] * 5])
def test_batches_are_one_request(client: FlaskClient, sizes: list[int]) -> None:
    """Each with a dictionary of its own; positions in pointers are those in the whole stream."""
    whole = pa.table({**ROWS, "grade": pa.array(ROWS["grade"]).dictionary_encode()})
    parts, begin = [], 0
    for size in sizes:
        own = whole.slice(begin, size).to_pydict()
        parts.append(
            pa.record_batch(
                [pa.array(own[n], whole.schema.field(n).type) for n in whole.schema.names], schema=whole.schema
            )
        )
        begin += size
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        for part in parts:
            writer.write(part)
    answers = answers_of(send(client, bytes(sink.getvalue())))
    assert without_ids(answers) == without_ids(post(client, ROWS).get_json()["predictions"])


def test_one_row_is_a_table_too(client: FlaskClient) -> None:
    """The shape of an answer is that of the request; a column that is left out is missing."""
    one = {name: values[2:3] for name, values in ROWS.items() if name != "emp_length"}
    assert without_ids(answers_of(send(client, one))) == without_ids([post(client, one).get_json()])


def test_a_frame_of_pandas(client: FlaskClient) -> None:
    """As ``pyarrow.Table.from_pandas`` has it, with categories; its own metadata is no trouble."""
    frame = pd.DataFrame(ROWS).astype({"grade": "category"})
    answers = answers_of(send(client, pa.Table.from_pandas(frame, preserve_index=False)))
    assert without_ids(answers) == without_ids(post(client, ROWS).get_json()["predictions"])


def test_the_log_has_the_same_rows(application: Application, client: FlaskClient, settings: Settings) -> None:
    """Inputs, answers, the caller's ids, the generation."""
    application.prediction_log.open()
    send(client, ROWS)
    post(client, ROWS)
    application.prediction_log.close()
    found = logged(settings)
    assert len(found) == 10
    assert found[:5] == found[5:]
    assert [row["record_id"] for row in found[:5]] == ROWS["id"]


def test_a_key_gives_the_ids_that_json_gets(client: FlaskClient) -> None:
    """A retry is the same prediction, in whatever form it is sent."""
    key = {"Idempotency-Key": "k1"}
    ids = table_of(send(client, ROWS, **key))["prediction_id"].to_pylist()
    assert ids == [answer["prediction_id"] for answer in post(client, ROWS, **key).get_json()["predictions"]]
    assert len({*ids}) == 5
    assert table_of(send(client, ROWS, **key))["prediction_id"].to_pylist() == ids
    assert_problem(send(client, ROWS, **{"Idempotency-Key": "ü".encode().decode("latin-1")}), 400)


def test_a_challenger_answers_its_share(application: Application, client: FlaskClient, bundles: list[Made]) -> None:
    """The same rows as in JSON, each answer with the version of its model."""
    share(application, bundles[1], 50)
    ids = [f"loan-{i}" for i in range(40)]
    document = {name: [value] * 40 for name, value in LOAN.items()} | {"id": ids}
    found = answers_of(send(client, document, "?contributions=all"))
    wanted = post(client, document, "?contributions=all").get_json()["predictions"]
    assert {answer["model_version"] for answer in found} == {made.sha256 for made in bundles[:2]}
    for own, other in zip(without_ids(found), without_ids(wanted), strict=True):
        terms = own.pop("contributions")
        assert {k: v for k, v in terms.items() if v is not None} == other.pop("contributions")
        assert own == other


BAD: list[Json] = [
    {"amount": [-1, 30000, None, 5000, 1]},
    {"amount": ["1", "2", "3", None, "5"]},
    {"amount": [True] * 5},
    {"amount": [float("inf"), 1.0, 2.0, float("-inf"), 1.0]},
    {"int_rate": [0.13, 1.5, -0.1, 0.05, 13]},
    {"grade": [1, 2, None, 4, 5]},
    {"grade": ["x" * 300, "C", "C", "C", "C"]},
    {"id": ["", "a", "b\0", "x" * 65, "ok"]},
    {"id": [1, 2, 3, 4, 5]},
    {"colour": ["red"] * 5, "amounts": [1] * 5},
]


@pytest.mark.parametrize("changed", BAD)
def test_problems_are_those_of_json(client: FlaskClient, changed: Json) -> None:
    """The same details at the same pointers."""
    found = assert_problem(send(client, {**ROWS, **changed}), 422)
    document = json.dumps({**ROWS, **changed}).replace("-Infinity", "-1e999").replace("Infinity", "1e999")
    wanted = assert_problem(client.post("/predict", data=document, content_type="application/json"), 422)
    assert (found["detail"], found["errors"]) == (wanted["detail"], wanted["errors"])


def test_columns_that_are_not_there(client: FlaskClient) -> None:
    """A required column is named; no rows, and no columns, are no request."""
    left = {name: values for name, values in ROWS.items() if name != "amount"}
    found = assert_problem(send(client, left), 422)
    assert found["errors"] == assert_problem(post(client, left), 422)["errors"]
    for nothing in (pa.table({}), pa.table(ROWS).slice(0, 0), {"amount": pa.nulls(0)}):
        [error] = assert_problem(send(client, nothing), 422)["errors"]
        assert error == {"pointer": "", "detail": "must have at least one record"}


def test_limits(client: FlaskClient) -> None:
    """Rows and bytes, as in JSON."""
    many = {name: [value] * 51 for name, value in LOAN.items()}
    assert assert_problem(send(client, many), 413)["max_rows"] == 50
    assert assert_problem(send(client, b"x" * 100_001), 413)["max_bytes"] == 100_000


def test_without_pyarrow(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says what to send instead, to people and to programs."""
    monkeypatch.setattr(columns, "INSTALLED", False)
    response = send(client, ROWS)
    assert "pyarrow" in assert_problem(response, 415)["detail"]
    assert response.headers["Accept-Post"] == "application/json, text/csv"


def test_content_types(client: FlaskClient) -> None:
    """Parameters are allowed, compression and other types are not."""
    body = encode(pa.table(ROWS))
    assert client.post("/predict", data=body, content_type=f"{MEDIA_TYPE}; v=1").status_code == 200
    assert client.post("/predict", data=body, content_type=MEDIA_TYPE.upper()).status_code == 200
    assert_problem(client.post("/predict", data=body, content_type=f"{MEDIA_TYPE}ing"), 415)
    assert_problem(send(client, body, **{"Content-Encoding": "gzip"}), 415)
    assert_problem(client.post("/predict?contributions=some", data=body, content_type=MEDIA_TYPE), 422)


def test_rows_for_which_there_is_no_probability(
    application: Application, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named as in JSON."""
    from modelbundle.errors import CannotScore

    def fail(*_: Any) -> Any:
        raise CannotScore({3: "ValueError"})

    monkeypatch.setattr(application.models.current().model.scorer, "explain_columns", fail)
    found = assert_problem(send(client, ROWS), 422)
    assert found["errors"] == assert_problem(post(client, ROWS), 422)["errors"]
    assert msgspec.json.encode(found["errors"]).count(b"row 3") == 1
