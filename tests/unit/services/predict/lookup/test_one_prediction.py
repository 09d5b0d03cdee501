"""``/predictions/ID``: one prediction as the audit tells it, whatever became of its row and its model."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from services.predict.app import Application
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import audit, database
from services.predictionlog.__main__ import main
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.lookup.conftest import AUDITOR, Ship
from tests.unit.services.predict.pages.test_try_it import text

Logged = list[dict[str, Any]]


def test_one_prediction_is_told_as_the_audit_tells_it(
    client: FlaskClient, logged: Logged, ship: Ship, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The same document as the command's, with where the model's card is; by the ending and by Accept."""
    own = logged[2]["prediction_id"]
    with ship().begin() as connection:
        row = {"prediction_id": own, "name": "is_late", "value": "true", "time": "2026-12-01T00:00:00.000000+00:00"}
        connection.execute(sa.insert(database.outcomes).values(**row))
        said = {"model_version": "b" * 64, "probability": 0.25, "time": "2026-12-02T00:00:00.000000+00:00"}
        connection.execute(sa.insert(database.challenges).values(prediction_id=own, **said))
        for by in ("ann", "bob") * 5:  # more than are looked for at a time
            audit.note_letter(connection, own, ["amount"], by)
        audit.note_letter(connection, logged[0]["prediction_id"], ["amount"], "another")
    told = client.get(f"/predictions/{own}.json", headers=AUDITOR).get_json()
    assert told == client.get(f"/predictions/{own}", headers={**AUDITOR, "Accept": "application/json"}).get_json()
    monkeypatch.setenv("PREDICTION_LOG_URL", settings.prediction_log_url)
    capsys.readouterr()
    assert main(["audit", own, "--models", str(settings.state_dir / "bundles")]) == 0
    (story,) = json.loads(capsys.readouterr().out)
    assert told.pop("model_card") == f"{own}/model-card"
    assert story.pop("model_file")
    assert told == story
    assert told["reproduced"] is True
    assert (told["outcome"], told["challenges"]) == ({"name": "is_late", "value": True}, [said])
    letters = [(letter["by"], letter["reasons"]) for letter in told["notices"]]
    assert letters == [("ann", ["amount"]), ("bob", ["amount"])] * 5
    page = client.get(f"/predictions/{own}", headers=AUDITOR).text
    shown = text(page)
    assert (page.count("by ann"), page.count("by another")) == (5, 0)
    assert "make notice" not in shown, "there is no reason to tell"
    for part in ("bit for bit", "is_late: true", "25.0", "b" * 12, "order-17", "loan-2", "desk", told["model_version"]):
        assert part in shown, part
    for reason in told["reasons"]:
        assert reason["text"] in shown
    for name, value in LOAN.items():
        if name != "amount" and value is not None:
            assert str(value) in shown
    assert page.count('class="term ') == len(LOAN) + 2
    card = client.get(f"/predictions/{own}/model-card", headers=AUDITOR)
    assert told["model_version"] in card.text


@pytest.mark.parametrize(
    "detail",
    ["{}", "[]", "no JSON", "[" * 100_000, '{"by": 3, "reasons": "amount"}', '{"by": "\\ud800", "reasons": [1]}'],
)
def test_a_letter_whose_event_was_changed_by_hand_is_shown_all_the_same(
    client: FlaskClient, logged: Logged, ship: Ship, detail: str
) -> None:
    """That it was written is known; what no version writes is left empty."""
    own = logged[0]["prediction_id"]
    with ship().begin() as connection:
        audit.note_letter(connection, own, ["amount"], "ann")
        connection.execute(sa.update(database.events).where(database.events.c.kind == "notice").values(detail=detail))
    (letter,) = client.get(f"/predictions/{own}.json", headers=AUDITOR).get_json()["notices"]
    assert (letter["by"], letter["reasons"]) == ("", [])
    assert "by nobody that is named" in client.get(f"/predictions/{own}", headers=AUDITOR).text


def test_the_page_of_a_prediction_with_reasons_has_the_command_for_a_letter(
    client: FlaskClient, logged: Logged, ship: Ship
) -> None:
    """Of one without reasons it has none; nor of one whose id, written by hand, is more than a word of a command."""
    reasons = json.dumps([{"feature": "amount", "text": "The amount is high", "contribution": 0.5}])
    command = "make notice ID="
    own, other = logged[0]["prediction_id"], logged[1]["prediction_id"]
    assert command not in client.get(f"/predictions/{own}", headers=AUDITOR).text
    table = database.predictions
    with ship().begin() as connection:
        connection.execute(sa.update(table).where(table.c.prediction_id == own).values(reasons=reasons))
        odd = sa.update(table).where(table.c.prediction_id == other)
        connection.execute(odd.values(reasons=reasons, prediction_id="a;reboot"))
    assert f'{command}{own} ACTION="…"' in text(client.get(f"/predictions/{own}", headers=AUDITOR).text)
    shown = client.get("/predictions/a;reboot", headers=AUDITOR)
    assert (shown.status_code, command in shown.text) == (200, False)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("band", "low", "band"),
        ("probability", 0.5, "probability"),
        ("probabilities", "[0.5, 0.5]", "probabilities"),
        ("reasons", '[{"feature": "amount", "text": "another", "contribution": 1.0}]', "reasons"),
        ("input", json.dumps({**LOAN, "amount": 1}), "probability"),
        ("input", json.dumps({"amount": 1}), "input"),
        ("input", "[]", "input"),
        ("input", "{", "input"),
        ("input", '"text"', "input"),
        ("reasons", "[1, {}]", "reasons"),
        ("reasons", "[NaN]", "reasons"),
        ("reasons", '["\\ud800"]', "reasons"),
        ("probabilities", "null", "probabilities"),
        ("warnings", "[3]", None),
        ("warnings", "{", None),
        ("probability", "much", "probability"),
        ("time", "then", None),
        ("model_version", "../../../data", None),
    ],
)
def test_a_row_that_was_changed_by_hand_is_shown_with_what_differs(
    client: FlaskClient, logged: Logged, ship: Ship, column: str, value: Any, what: str | None
) -> None:
    """On the page, and as JSON; nothing that is in a row breaks either."""
    own = logged[2]["prediction_id"]
    with ship().begin() as connection:
        connection.exec_driver_sql(f"UPDATE predictions SET {column} = ? WHERE prediction_id = ?", (value, own))
    told = client.get(f"/predictions/{own}.json", headers=AUDITOR).get_json()
    page = client.get(f"/predictions/{own}", headers=AUDITOR)
    assert page.status_code == client.get("/predictions", headers=AUDITOR).status_code == 200
    if what:
        assert told["reproduced"] is False
        assert what in told["differs"]
        assert "Not the same" in text(page.text)
    if column == "model_version":
        assert told["reproduced"] is None


def test_a_model_that_is_not_kept_is_said(client: FlaskClient, logged: Logged, store: StateDir, ship: Ship) -> None:
    """What was answered is shown all the same, and with which command it is computed where the bundle is."""
    own = logged[0]["prediction_id"]
    with ship().begin() as connection:
        connection.exec_driver_sql("UPDATE predictions SET model_version = ?", ("c" * 64,))
    told = client.get(f"/predictions/{own}.json", headers=AUDITOR).get_json()
    assert (told["reproduced"], told["model_card"]) == (None, None)
    assert "does not keep" in told["why_not"]
    page = text(client.get(f"/predictions/{own}", headers=AUDITOR).text)
    assert f"make audit ID={own}" in page
    assert "amount 9000" in page
    assert client.get(f"/predictions/{own}/model-card", headers=AUDITOR).status_code == 404


def test_a_model_that_answers_no_more_is_read_from_its_file(
    client: FlaskClient, logged: Logged, store: StateDir, bundles: list[Made], application: Application
) -> None:
    """As data, and its card is that of then."""
    make_current(store, bundles[1])
    application.models._loaded.clear()
    told = client.get(f"/predictions/{logged[0]['prediction_id']}.json", headers=AUDITOR).get_json()
    assert told["reproduced"] is True
    assert application.models.get(bundles[0].sha256) is None
