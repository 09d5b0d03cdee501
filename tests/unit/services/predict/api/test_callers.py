"""Callers who share a server: what one of them sends never becomes another's, and what a key may do is what its roles say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from services.predict.api import api_keys
from services.predict.api.api_keys import AUDIT, Keys
from services.predict.app import Application, create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.shares import falls
from services.predict.settings import Settings
from services.predictionlog import database
from services.predictionlog.shipper import Shipper
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.api.test_api_keys import line
from tests.unit.services.predict.api.test_predict import assert_problem
from tests.unit.services.predict.pages.test_try_it import form
from tests.unit.services.predict.serving.test_shares import LOANS, SHARE, share

CALLERS = ("desk", "shop", "servicer", "auditor", "both")
ROLES = {"servicer": "outcomes", "auditor": "audit", "both": "predict,outcomes"}


@pytest.fixture
def application(settings: Settings, store: StateDir, bundles: list[Made], tmp_path: Path) -> Iterator[Application]:
    """Each caller's key is its name; the desk is changing its key."""
    lines = [line(name, name).strip() + f" {ROLES.get(name, '')}\n" for name in CALLERS]
    (tmp_path / "keys").write_text("".join([*lines, line("desk", "new")]), "utf-8")
    make_current(store, bundles[0])
    store.settle()
    application = create_app(replace(settings, api_keys_file=str(tmp_path / "keys")), store)
    application.prediction_log.open()
    yield application
    application.prediction_log.close()


def post(client: FlaskClient, document: Any, key: str, path: str = "/predict", **headers: str) -> Any:
    return client.post(path, json=document, headers={"X-API-Key": key, **headers})


def ids(client: FlaskClient, document: Any, key: str) -> list[str]:
    answer = post(client, document, key, **{"Idempotency-Key": "order-17"}).get_json()
    return [p["prediction_id"] for p in answer.get("predictions", [answer])]


def shipped(application: Application, settings: Settings) -> sa.Engine:
    """What was answered so far is in the database."""
    assert application.prediction_log.writer is not None
    application.prediction_log.writer.turn()
    assert Shipper(settings.data_dir / "spool", settings.prediction_log_url).round()
    return database.connect(settings.prediction_log_url)


def stored(engine: sa.Engine) -> list[tuple[str, str, str]]:
    columns = (database.predictions.c.key_name, database.predictions.c.record_id, database.outcomes.c.key_name)
    query = sa.select(*columns).join_from(
        database.outcomes,
        database.predictions,
        database.predictions.c.prediction_id == database.outcomes.c.prediction_id,
    )
    with engine.connect() as connection:
        return sorted(map(tuple, connection.execute(query)))


@pytest.mark.attack("callers")
def test_two_callers_with_one_idempotency_key_and_one_row_are_two_predictions(
    application: Application, client: FlaskClient, settings: Settings
) -> None:
    """Both are in the log, each with its caller. A caller that changes its key stays the same caller."""
    rows = [LOAN, [LOAN, {**LOAN, "id": "loan-17"}]]
    for asked in rows:
        own = ids(client, asked, "desk")
        assert own == ids(client, asked, "desk") == ids(client, asked, "new")
        assert not {*own} & {*ids(client, asked, "shop")}
    sheet = f"{','.join(LOAN)}\n{','.join('' if v is None else str(v) for v in LOAN.values())}\n"
    found = set()
    for key in ("desk", "shop", "desk"):
        headers = {"X-API-Key": key, "Idempotency-Key": "order-17"}
        answered = client.post("/predict", data=sheet, content_type="text/csv", headers=headers)
        found.add(answered.get_data())
    assert len(found) == 2
    with shipped(application, settings).connect() as connection:
        logged = connection.execute(sa.select(database.predictions.c.key_name, sa.func.count()).group_by("key_name"))
        assert {*map(tuple, logged)} == {("desk", 2), ("shop", 2)}


def test_a_record_with_another_id_is_another_prediction(client: FlaskClient) -> None:
    """Alone or among others; without an id it is a third one."""
    found = [ids(client, {**LOAN, **own}, "desk")[0] for own in ({}, {"id": "a"}, {"id": "b"}, {"id": "None"})]
    assert ids(client, [{**LOAN, "id": "a"}], "desk") == [found[1]]
    assert len({*found}) == 4


@pytest.mark.attack("callers")
def test_outcomes_are_for_ones_own_predictions(
    application: Application, client: FlaskClient, settings: Settings
) -> None:
    """Another's are as unknown as those that do not exist, by id, by reference and in a sheet. A servicer may."""
    loan = {**LOAN, "id": "loan-17"}
    theirs = post(client, loan, "desk").get_json()["prediction_id"]
    post(client, loan, "shop")
    engine = shipped(application, settings)
    claim = {"prediction_id": theirs, "is_late": True}
    refused = assert_problem(post(client, claim, "shop", "/outcomes"), 404)
    assert refused["detail"] == assert_problem(
        post(client, {**claim, "prediction_id": "none"}, "shop", "/outcomes"), 404
    )["detail"]  # fmt: skip
    sheet = client.post(
        "/outcomes",
        data=f"prediction_id,is_late\n{theirs},1\n",
        content_type="text/csv",
        headers={"X-API-Key": "shop"},
    )
    assert b",unknown," in sheet.get_data()
    assert stored(engine) == []
    (own,) = post(client, {"id": "loan-17", "is_late": True}, "shop", "/outcomes").get_json()["prediction_ids"]
    assert own != theirs
    assert stored(engine) == [("shop", "loan-17", "shop")]
    assert post(client, claim, "servicer", "/outcomes").get_json()["status"] == "recorded"
    assert stored(engine) == [("desk", "loan-17", "servicer"), ("shop", "loan-17", "shop")]
    assert_problem(post(client, {**claim, "is_late": False}, "new", "/outcomes"), 409)


def test_a_prediction_of_nobody_is_for_who_may_claim_all(
    application: Application, client: FlaskClient, settings: Settings
) -> None:
    """It was logged before there were keys."""
    from tests.unit.services.predictionlog.test_database import prediction

    engine = shipped(application, settings)
    database.insert(engine, [prediction(1)])
    claim = {"id": "loan-1", "is_late": True}
    assert_problem(post(client, claim, "desk", "/outcomes"), 404)
    assert post(client, claim, "both", "/outcomes").get_json()["prediction_ids"] == ["p1"]


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/first/infer", "/"])
def test_a_key_without_the_role_is_refused(client: FlaskClient, path: str) -> None:
    """A servicer and an auditor cannot ask; who has both roles can; the same for outcomes."""
    for key, status in (("servicer", 403), ("auditor", 403), ("both", 200), ("desk", 200)):
        if path == "/":
            assert client.post(path, data=form(LOAN, key=key)).status_code == status
            continue
        answer = post(client, LOAN, key, path)
        assert (answer.status_code == 403) == (status == 403)
        if status == 403:
            assert "`predict`" in answer.get_data(as_text=True)
        outcome = post(client, {"prediction_id": "none", "is_late": True}, key, "/outcomes")
        assert (outcome.status_code == 403) == (key == "auditor")
    assert post(client, LOAN, "auditor", "/nowhere").status_code == 404


def test_whether_a_request_may_is_one_question(tmp_path: Path) -> None:
    """Without keys nobody is known, so nobody has a role."""
    (tmp_path / "keys").write_text(line("a", "a") + line("b", "b").strip() + "  audit,predict\n", "utf-8")
    keys = Keys(tmp_path / "keys")

    def asks(key: str) -> dict[str, str]:
        return {"HTTP_AUTHORIZATION": f"Bearer {key}"}

    assert [api_keys.has_role(keys, asks(key), AUDIT) for key in ("a", "b", "c", "")] == [False, True, False, False]
    assert not api_keys.has_role(None, asks("b"), AUDIT)
    assert not api_keys.has_role(keys, {}, AUDIT)


@pytest.mark.parametrize("roles", ["admin", "predict,", "predict, outcomes", "predict outcomes", ",", "Predict"])
def test_a_role_that_does_not_exist(tmp_path: Path, roles: str) -> None:
    """The line is named; the command does not make it."""
    (tmp_path / "keys").write_text(line("a", "a") + line("b", "b").strip() + f" {roles}\n", "utf-8")
    with pytest.raises(api_keys.KeysError, match="line 2"):
        Keys(tmp_path / "keys")
    with pytest.raises(SystemExit, match="the roles are predict, outcomes, audit"):
        api_keys.main("b", roles)


def test_the_command_writes_roles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints is what the file takes."""
    api_keys.main("servicer", "outcomes")
    made = capsys.readouterr()
    (tmp_path / "keys").write_text(made.out, "utf-8")
    found = Keys(tmp_path / "keys").find(made.err.splitlines()[0].split()[-1])
    assert found is not None
    assert (found.name, found.roles) == ("servicer", {"outcomes"})


def test_the_log_tells_two_keys_of_a_caller_apart(client: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    """So it is seen when the old key is used no more; of a caller with one key, the name is enough."""
    import hashlib
    import json

    for key in ("desk", "new", "shop"):
        post(client, LOAN, key)
    said = [json.loads(entry) for entry in capfd.readouterr().out.splitlines()]
    own = [hashlib.sha256(key).hexdigest()[:8] for key in (b"desk", b"new")]
    assert [(entry["key"], entry.get("key_id")) for entry in said] == [
        ("desk", own[0]),
        ("desk", own[1]),
        ("shop", None),
    ]


def test_the_share_is_drawn_by_caller(application: Application, client: FlaskClient, bundles: list[Made]) -> None:
    """The same ids of two callers fall to the challenger independently, and to the same model each time."""
    share(application, bundles[1], SHARE)
    drawn = {}
    for key in ("desk", "shop", "desk"):
        answers = post(client, LOANS, key).get_json()["predictions"]
        drawn[key] = {a["id"] for a in answers if a["model_version"] == bundles[1].sha256}
        wanted = {loan["id"] for loan in LOANS if falls(bundles[1].sha256, SHARE, f"{key}\0{loan['id']}")}
        assert drawn[key] == wanted
    assert drawn["desk"] != drawn["shop"]
    for number in range(8):
        same = {"Idempotency-Key": f"{number}", "X-Request-Id": f"{number:032d}"}
        found = post(client, LOAN, "shop", **same).get_json()["model_version"]
        assert (found == bundles[1].sha256) == falls(bundles[1].sha256, SHARE, f"shop\0{number}")
