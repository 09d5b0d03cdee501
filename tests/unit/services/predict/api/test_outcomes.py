"""Who was late: recorded once, said of each row, and asked for with a key where others can reach the API."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sklearn.linear_model import LogisticRegression

from modelbundle.publishing.publish import publish
from services.predict.api import outcomes as view
from services.predict.api.request_body import BodyReader
from services.predict.app import create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import audit, database, spool
from services.predictionlog.shipper import Shipper
from services.web import problem
from tests.conftest import Made
from tests.unit.services.conftest import make_current
from tests.unit.services.predictionlog.test_database import prediction


@pytest.fixture
def engine(settings: Settings) -> sa.Engine:
    """Four predictions; the third and the fourth are of the same loan, a quarter apart."""
    settings.data_dir.mkdir()
    engine = database.connect(settings.prediction_log_url)
    database.migrate(engine)
    rows = [prediction(number) for number in (1, 2, 3, 4)]
    rows[2].update(record_id="twice", time="2026-07-01T10:00:00.000000+00:00")
    rows[3].update(record_id="twice", time="2026-10-01T10:00:00.000000+00:00")
    database.insert(engine, rows)
    return engine


def stored(engine: sa.Engine) -> dict[str, bool]:
    with engine.connect() as connection:
        found = connection.execute(sa.select(database.outcomes.c.prediction_id, database.outcomes.c.is_late))
        return {row[0]: row[1] for row in found}


def send(client: FlaskClient, document: Any, status: int = 200, path: str = "/outcomes") -> Any:
    response = client.post(path, json=document)
    assert response.status_code == status, response.get_data()
    if status != 200:
        assert response.mimetype == "application/problem+json"
    return response.get_json()


def statuses(answer: Any) -> list[str]:
    return [row["status"] for row in answer["outcomes"]]


def test_one_outcome(client: FlaskClient, engine: sa.Engine) -> None:
    """One object gets one object; the same again is fine; another is refused, and the first stays."""
    claim = {"prediction_id": "p1", "is_late": True}
    assert send(client, claim) == {"prediction_ids": ["p1"], "is_late": True, "status": "recorded"}
    assert send(client, claim)["status"] == "repeated"
    problem = send(client, {**claim, "is_late": False}, 409)
    assert problem["errors"] == [{"pointer": "/is_late", "detail": "differs from what is recorded"}]
    assert send(client, {"prediction_id": "p9", "is_late": True}, 404)["detail"].startswith("No prediction in the log")
    assert stored(engine) == {"p1": True}


@pytest.mark.parametrize("wrap", [False, True])
def test_several_outcomes_are_answered_row_by_row(client: FlaskClient, engine: sa.Engine, wrap: bool) -> None:
    """What can be recorded is; of two that contradict each other the first counts."""
    claims = [
        {"prediction_id": "p1", "is_late": True},
        {"prediction_id": "p9", "is_late": True},
        {"prediction_id": "p1", "is_late": False},
        {"prediction_id": "p1", "is_late": True},
        {"id": "loan-2", "is_late": False},
    ]
    answer = send(client, {"records": claims} if wrap else claims)
    assert statuses(answer) == ["recorded", "unknown", "contradicted", "repeated", "recorded"]
    assert answer["outcomes"][4] == {"id": "loan-2", "prediction_ids": ["p2"], "is_late": False, "status": "recorded"}
    assert {k: v for k, v in answer.items() if k != "outcomes"} == {
        "recorded": 2,
        "repeated": 1,
        "contradicted": 1,
        "unknown": 1,
        "waiting": 0,
    }
    assert stored(engine) == {"p1": True, "p2": False}


def test_ones_own_reference_means_the_predictions_that_have_no_outcome_yet(
    client: FlaskClient, engine: sa.Engine
) -> None:
    """A loan that is scored each quarter gets each quarter's outcome; ``before`` tells them apart where both are open."""
    early = send(client, {"id": "twice", "is_late": False, "before": "2026-08-01"})
    assert early["prediction_ids"] == ["p3"]
    assert send(client, {"id": "twice", "is_late": True})["prediction_ids"] == ["p4"]
    assert send(client, {"id": "twice", "is_late": True})["status"] == "repeated"
    send(client, {"id": "twice", "is_late": False}, 409)
    assert send(client, {"id": "twice", "is_late": False, "before": "2026-10-01T09:59:59Z"})["status"] == "repeated"
    send(client, {"id": "twice", "is_late": False, "before": "2026-01-01T00:00:00+02:00"}, 404)
    assert stored(engine) == {"p3": False, "p4": True}


def test_a_sheet_is_answered_with_the_same_sheet(client: FlaskClient, engine: sa.Engine) -> None:
    """Two columns more; a bad row says so on its row; other columns pass through; an empty cell is not there."""
    sheet = "desk,prediction_id,id,is_late\nA,p1,,true\nA,,loan-2,0\nB,p1,ignored,FALSE\nB,,,1\nB,p2,,perhaps\nshort\nC,p9,,1\n"
    response = client.post("/outcomes", data=sheet, content_type="text/csv")
    assert response.status_code == 200
    lines = response.get_data(as_text=True).splitlines()
    assert lines == [
        "desk,prediction_id,id,is_late,status,detail",
        "A,p1,,true,recorded,",
        "A,,loan-2,0,recorded,",
        "B,p1,ignored,FALSE,contradicted,another outcome is recorded; the first one stays",
        "B,,,1,invalid,must have either `prediction_id` or `id`",
        "B,p2,,perhaps,invalid,is_late must be true or false",
        "short,,,,invalid,has 1 cells where the header has 4",
        "C,p9,,1,unknown,no prediction in the log is known by this",
    ]
    assert stored(engine) == {"p1": True, "p2": False}


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        ("p1", [("", "must be an object (one outcome, or records) or an array of outcomes")]),
        ([], [("", "must have at least one outcome")]),
        ({"records": 1}, [("/records", "must be an object (one outcome, or records) or an array of outcomes")]),
        ({"records": [], "is_late": True}, [("/is_late", "unknown field beside `records`")]),
        (
            {"prediction": "p1", "islate": True},
            [
                ("/prediction", "unknown field; did you mean `prediction_id`?"),
                ("/islate", "unknown field; did you mean `is_late`?"),
                ("", "must have either `prediction_id` or `id`"),
                ("/is_late", "missing; must be true or false"),
            ],
        ),
        ([{"prediction_id": "p1", "id": "x", "is_late": True}], [("/0", "must have either `prediction_id` or `id`")]),
        (
            {"records": [{"prediction_id": "p1", "is_late": True}, {"id": 5, "is_late": 1, "before": "soon"}, 7]},
            [
                ("/records/1/id", "must be a string of 1 to 64 characters other than NUL"),
                ("/records/1/is_late", "must be true or false"),
                ("/records/1/before", "must be a date, or a date and time, in ISO 8601"),
                ("/records/2", "must be an object: one outcome"),
            ],
        ),
        ({"prediction_id": "p1", "is_late": True, "before": "2026-01-01"}, [("/before", "goes only with `id`")]),
        ({"prediction_id": "p\0", "is_late": True}, [("/prediction_id", view.outcome_parser.ID_RULE)]),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_recorded(
    client: FlaskClient, engine: sa.Engine, document: Any, errors: list[tuple[str, str]]
) -> None:
    """Every mistake at once, with a pointer, without the value."""
    problem = send(client, document, 422)
    assert [(e["pointer"], e["detail"]) for e in problem["errors"]] == errors
    assert stored(engine) == {}


def test_a_scored_book_is_taken_as_it_is(client: FlaskClient, engine: sa.Engine) -> None:
    """Its cells would take many times the memory of its text: they are read a little at a time."""
    width = 40
    header = ",".join(["prediction_id", "is_late", *(f"c{i}" for i in range(width))])
    rows = [f"p{i % 2 + 1},1{',5' * width}" for i in range(1100)]
    sheet = "\n".join([header, *rows, ""])
    assert 90_000 < len(sheet) < 100_000
    response = client.post("/outcomes", data=sheet, content_type="text/csv")
    assert response.status_code == 200
    lines = response.get_data(as_text=True).splitlines()
    assert lines[0] == f"{header},status,detail"
    assert [line.rsplit(",", 2)[0] for line in lines[1:]] == rows
    assert {line.rsplit(",", 2)[1] for line in lines[1:]} <= {"recorded", "repeated"}


def test_too_many_and_what_is_no_sheet(client: FlaskClient, engine: sa.Engine) -> None:
    """The bounds and types of /predict."""
    send(client, [{"prediction_id": "p1", "is_late": True}] * 51, 413)
    for header in ("prediction_id", "is_late", "prediction_id,is_late,is_late", "id,is_late,status"):
        response = client.post("/outcomes", data=f"{header}\n", content_type="text/csv")
        assert response.status_code == 422, header
    assert client.post("/outcomes", data="x", content_type="text/plain").status_code == 415
    assert client.post("/outcomes", data="{", content_type="application/json").status_code == 400


def test_a_prediction_that_is_still_in_the_spool_is_not_called_unknown(
    client: FlaskClient, engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for; where it takes too long, the answer is to send it again. What is nowhere is unknown."""
    root = settings.data_dir / "spool"
    writer = spool.Writer(root, 1 << 20)
    writer.append(b"[1] not yet a row\n")
    monkeypatch.setattr(view, "PATIENCE", 0.0)
    response = client.post("/outcomes", json={"prediction_id": "p5", "is_late": True})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert statuses(send(client, [{"prediction_id": p, "is_late": True} for p in ("p5", "p1")])) == [
        "waiting",
        "recorded",
    ]

    def ship(_: float) -> None:
        writer.turn()
        database.insert(engine, [prediction(5)])
        Shipper(root, settings.prediction_log_url).round()
        writer.append(b"others go on\n")

    monkeypatch.setattr(view, "PATIENCE", 60.0)
    monkeypatch.setattr(view.time, "sleep", ship)
    claims = [{"prediction_id": p, "is_late": True} for p in ("p5", "p6")]
    assert statuses(send(client, claims)) == ["recorded", "unknown"]
    writer.close()


def test_without_a_database_nothing_is_recorded_and_the_answer_says_when_to_come_back(
    client: FlaskClient, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """503 with Retry-After; the log says what was wrong and never what was sent."""
    response = client.post("/outcomes", json={"prediction_id": "secret", "is_late": True})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    said = capfd.readouterr().out
    assert '"reason": "OperationalError"' in said
    assert "secret" not in said


def test_few_record_at_once(settings: Settings, engine: sa.Engine) -> None:
    """The other threads are for predictions; whoever comes too many is told to come back."""
    outcomes = view.OutcomeRecorder(settings, BodyReader(1000, 1))
    app = Flask(__name__)
    problem.init_app(app)
    app.register_blueprint(view.blueprint(outcomes))
    client = app.test_client()
    for _ in range(view.AT_ONCE):
        outcomes._places.acquire()
    response = client.post("/outcomes", json={"prediction_id": "p1", "is_late": True})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    outcomes._places.release()
    send(client, {"prediction_id": "p1", "is_late": True})


def test_two_who_contradict_each_other_at_once(engine: sa.Engine) -> None:
    """One is recorded, the other hears that it contradicts; SQLite and PostgreSQL decide who was first."""
    from services.predictionlog.outcome import Claim
    from services.predictionlog.outcomes import record

    found: list[str] = []

    def say(is_late: bool) -> None:
        found.append(record(engine, [Claim("p1", None, None, is_late)], None)[0].status)

    threads = [threading.Thread(target=say, args=(late,)) for late in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["contradicted", "recorded"]


def test_a_wrong_outcome_is_corrected_by_an_operator_and_that_is_recorded(
    client: FlaskClient, engine: sa.Engine
) -> None:
    """By nobody else: a caller's other outcome stays a contradiction. What was there before is in the event."""
    send(client, {"prediction_id": "p1", "is_late": True})
    audit.correct(engine, "p1", False, "ann")
    assert stored(engine) == {"p1": False}
    assert send(client, {"prediction_id": "p1", "is_late": False})["status"] == "repeated"
    with engine.connect() as connection:
        (detail,) = connection.execute(sa.select(database.events.c.detail)).scalars()
    assert json.loads(detail) == {"prediction_id": "p1", "from": True, "to": False, "by": "ann"}
    with pytest.raises(audit.NotFound, match="no outcome is recorded for the prediction p2"):
        audit.correct(engine, "p2", True, "ann")


def make(settings: Settings, store: StateDir, bundles: list[Made], **changes: str) -> FlaskClient:
    make_current(store, bundles[0])
    store.settle()
    own = {"STATE_DIR": str(settings.state_dir), "DATA_DIR": str(settings.data_dir), **changes}
    return create_app(Settings.from_environment(own), store).flask.test_client()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "api.internal"])
def test_beyond_this_machine_a_key_is_needed(
    settings: Settings, store: StateDir, bundles: list[Made], engine: sa.Engine, host: str, tmp_path: Path
) -> None:
    """Without API_KEYS_FILE it is 403, and says what to set; with it, a key of the role may, and is named."""
    claim = {"prediction_id": "p1", "is_late": True}
    assert "API_KEYS_FILE" in send(make(settings, store, bundles, HOST=host), claim, 403)["detail"]
    import hashlib

    (tmp_path / "keys").write_text(f"desk {hashlib.sha256(b'secret').hexdigest()} outcomes\n", "utf-8")
    client = make(settings, store, bundles, HOST=host, API_KEYS_FILE=str(tmp_path / "keys"))
    send(client, claim, 401)
    assert client.post("/outcomes", json=claim, headers={"X-API-Key": "secret"}).status_code == 200
    with engine.connect() as connection:
        assert connection.execute(sa.select(database.outcomes.c.key_name)).scalars().all() == ["desk"]


def test_without_a_log_there_is_nothing_to_add_to(settings: Settings, store: StateDir, bundles: list[Made]) -> None:
    send(make(settings, store, bundles, PREDICTION_LOG_URL="none"), {"prediction_id": "p1", "is_late": True}, 501)


def test_the_description_says_what_the_api_does(client: FlaskClient, engine: sa.Engine) -> None:
    """Its examples are understood, and the answers are as described."""
    document = client.get("/openapi.json").get_json()
    operation = document["paths"]["/outcomes"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    described = operation["responses"]["200"]["content"]["application/json"]["schema"]

    def fits(schema: Any, value: Any) -> bool:
        return jsonschema_rs.validator_for({**schema, "components": document["components"]}).is_valid(value)

    for example in content["examples"].values():
        assert fits(content["schema"], example["value"])
        response = client.post("/outcomes", json=example["value"])
        assert response.status_code in (200, 404)
        assert response.status_code == 404 or fits(described, response.get_json())
    assert fits(described, send(client, {"prediction_id": "p1", "is_late": True}))
    assert not fits(content["schema"], {"prediction_id": "p1", "id": "x", "is_late": True})
    sheet = operation["requestBody"]["content"]["text/csv"]["example"]
    assert b",unknown," in client.post("/outcomes", data=sheet, content_type="text/csv").get_data()


def test_the_database_library_comes_with_the_first_outcome() -> None:
    """Importing the application does not import it."""
    code = "import services.predict.app, sys, json; print(json.dumps([m for m in sys.modules if m.startswith('sqlalchemy')]))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []


def test_a_sheet_as_data_frames_and_spreadsheets_write_it(client: FlaskClient, engine: sa.Engine) -> None:
    """Truth as a fraction, and a quotation mark that is not closed: the rows before it are recorded."""
    sheet = 'prediction_id,is_late,note\np1,1.0,\np2,0.0,\np3,1.0,"oh\np4,1,\n'
    lines = client.post("/outcomes", data=sheet, content_type="text/csv").get_data(as_text=True).splitlines()
    assert lines[1:3] == ["p1,1.0,,recorded,", "p2,0.0,,recorded,"]
    assert "begins on line 4 and ends inside quotation marks: one of them is not closed" in "".join(lines[3:])
    assert stored(engine) == {"p1": True, "p2": False}


def test_the_outcome_is_the_one_that_the_bundle_names(settings: Settings, engine: sa.Engine, tmp_path: Path) -> None:
    """Three classes: their values are accepted in JSON and CSV, described, and refused where they are no values."""
    frame = pd.DataFrame({"x": np.linspace(0, 1, 60)})
    labels = pd.Series(["lost", "paid", "sold"] * 20, name="end/of it")
    made = publish(LogisticRegression().fit(frame, labels), frame, labels, tmp_path / "three.bundle")
    store = StateDir(settings.state_dir)
    client = make(settings, store, [made])
    assert client.get("/model").get_json()["outcome"] == {"name": "end/of it", "values": ["lost", "paid", "sold"]}
    assert send(client, {"prediction_id": "p1", "end/of it": "sold"})["end/of it"] == "sold"
    assert send(client, {"prediction_id": "p1", "end/of it": "lost"}, 409)["errors"][0]["pointer"] == "/end~1of it"
    errors = send(client, [{"prediction_id": "p2", "end/of it": True}, {"prediction_id": "p2", "is_late": True}], 422)[
        "errors"
    ]
    rule = 'must be one of "lost", "paid", "sold"'
    assert {"pointer": "/0/end~1of it", "detail": rule} in errors
    assert {"pointer": "/1/is_late", "detail": "unknown field"} in errors
    assert {"pointer": "/1/end~1of it", "detail": f"missing; {rule}"} in errors
    sheet = client.post("/outcomes", data="id,end/of it\nloan-2,paid\nloan-2,true\n", content_type="text/csv")
    assert sheet.get_data(as_text=True).splitlines()[1:] == [
        "loan-2,paid,recorded,",
        f'loan-2,true,invalid,"end/of it {rule}"'.replace('"lost", "paid", "sold"', '""lost"", ""paid"", ""sold""'),
    ]
    found = [one["end/of it"] for own in ("p1", "p2") for one in audit.find(engine, own)]
    assert found == ["sold", "paid"]
    examples = client.get("/openapi.json").get_json()["paths"]["/outcomes"]["post"]["requestBody"]["content"]
    assert examples["application/json"]["examples"]["one"]["value"]["end/of it"] == "sold"
