"""``/predictions``: who may look, what is found and told, and that it is recorded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from services.predict.app import Application, create_app
from services.predict.lookup import criteria
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import audit, database, event
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.api.test_predict import assert_problem
from tests.unit.services.predict.lookup.conftest import AUDITOR, Ship
from tests.unit.services.predict.pages.test_try_it import HOSTILE

HTML = {"Accept": "text/html"}


class Elements(HTMLParser):
    """The tags of a page, the names of their attributes, and the sources of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))


Logged = list[dict[str, Any]]


def addresses(logged: Logged) -> list[str]:
    own = logged[0]["prediction_id"]
    one = [f"/predictions/{own}", f"/predictions/{own}.json", f"/predictions/{own}/model-card"]
    return ["/predictions", "/predictions.json", "/predictions?id=loan-1", *one]


def events(ship: Ship) -> list[dict[str, Any]]:
    query = sa.select(database.events.c.detail).where(database.events.c.kind == event.LOOKUP)
    with ship().connect() as connection:
        return [json.loads(detail) for detail in connection.execute(query.order_by(database.events.c.id)).scalars()]


@pytest.mark.attack("look-ups")
@pytest.mark.parametrize("headers", [{}, HTML])
def test_without_the_role_there_is_nothing_here(
    client: FlaskClient, logged: Logged, headers: dict[str, str], ship: Ship
) -> None:
    """The answer is that of an address that does not exist, whatever the method, without a key, with another's, and with one
    that nobody has. Nothing is recorded, because nothing was seen."""

    def shown(path: str, key: dict[str, str], method: str) -> tuple[Any, ...]:
        answer = client.open(path, method=method, headers={**headers, **key})
        same = answer.get_data(as_text=True).replace(answer.headers["X-Request-Id"], "")
        kept = {n: v for n, v in answer.headers if n not in ("X-Request-Id", "Content-Length")}
        return answer.status_code, same, kept

    for key in ({}, {"X-API-Key": "desk"}, {"X-API-Key": "nobody"}):
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"):
            for path in addresses(logged):
                nowhere = path.replace("predictions", "predictiöns")
                assert shown(path, key, method) == shown(nowhere, key, method)
        assert client.get("/predictions", headers={**headers, **key}).status_code == 404
    assert events(ship) == []


def test_a_key_with_the_role_opens_them_for_reading(client: FlaskClient, logged: Logged) -> None:
    """In either header; they are kept nowhere, and run nothing that is not from here."""
    for path in addresses(logged):
        page = client.get(path, headers={"Authorization": "Bearer auditor"})
        assert page.status_code == 200, path
        assert page.headers["Cache-Control"] == "no-store"
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        if page.mimetype == "text/html":
            assert "script-src 'self'" in page.headers["Content-Security-Policy"]
            assert not re.search(r'<script(?! type="module" src=)| style="| on\w+="', page.text)
        assert client.options(path, headers=AUDITOR).status_code == 405


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("::1", 200), ("0.0.0.0", 404), ("10.0.0.7", 404)])
def test_without_keys_they_are_there_on_loopback_only(
    settings: Settings, store: StateDir, bundles: list[Made], host: str, status: int
) -> None:
    """Whatever else the API answers to."""
    make_current(store, bundles[0])
    store.settle()
    application = create_app(replace(settings, host=host), store)
    application.prediction_log.open()
    try:
        client = application.flask.test_client()
        assert client.get("/predictions").status_code == status
        assert client.get("/predictions/x.json").status_code == 404
        assert ("Look up" in client.get("/").text) == (status == 200)
    finally:
        application.prediction_log.close()


def test_a_search_finds_by_each_kind_of_id_by_time_model_and_band(
    client: FlaskClient, logged: Logged, bundles: list[Made]
) -> None:
    """Alone and together."""

    def found(**asked: str) -> list[str]:
        answer = client.get("/predictions.json", query_string=asked, headers=AUDITOR)
        assert answer.status_code == 200, answer.text
        return sorted(row["record_id"] for row in answer.get_json()["predictions"])

    one, version, band = logged[1]["prediction_id"], bundles[0].sha256, logged[1]["band"]
    everyone = ["loan-0", "loan-1", "loan-2"]
    assert found() == found(request_id="order-17") == found(id="order-17") == found(model=version[:12]) == everyone
    assert found(id=one) == found(prediction_id=one) == found(id="loan-1") == found(record_id="loan-1") == ["loan-1"]
    assert found(record_id=one) == found(prediction_id="loan-1") == found(request_id="loan-1") == []
    assert found(band=band, model=version) == [f"loan-{i}" for i in range(3) if logged[i]["band"] == band]
    assert found(model="0" * 64) == found(band="no such band") == []
    row = client.get("/predictions.json?limit=1", headers=AUDITOR).get_json()["predictions"][0]
    day = row["time"][:10]
    assert found(**{"from": day, "to": day}) == everyone
    assert found(**{"from": row["time"]}) == everyone
    assert found(to=row["time"]) == found(to="2020-01-01") == found(**{"from": "2099-01-01T00:00Z"}) == []
    assert found(**{"from": row["time"].replace("+00:00", "Z"), "record_id": "loan-2"}) == ["loan-2"]


def test_pages_follow_each_other(client: FlaskClient, logged: Logged) -> None:
    """By the address that a page gives, as JSON and as a link."""
    address, found = "predictions.json?limit=2&request_id=order-17", []
    while address:
        page = client.get(f"/{address}", headers=AUDITOR).get_json()
        found += [row["record_id"] for row in page["predictions"]]
        address = page["next"]
    assert sorted(found) == ["loan-0", "loan-1", "loan-2"]
    first = client.get("/predictions?limit=2", headers=AUDITOR).text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    second = client.get("/" + unescape(older[1]), headers=AUDITOR).text
    assert "rel=" not in second.split("<main")[1]
    assert len(re.findall(r"<tr>", second)) == 2


WRONG = {
    "from": ["yesterday", "2026-13-01", "2026-02-30T10:00", "20260101", "2026-01-01T10", "2026-W01-1", "0001-01-01T00:00+14:00",
             "\uff12\uff10\uff12\uff16-01-01"],
    "to": ["9999-12-31", "9999-12-31T23:59-14:00", "2026-01-01T25:00"],
    "model": ["ABC", "xyz", "0" * 65, "ab%", "' OR 1=1 --"],
    "band": ["x" * 65, "a\0b"],
    "id": ["x" * 65, "\0"],
    "prediction_id": ["x" * 65],
    "request_id": ["x" * 65],
    "record_id": ["é" * 65],
    "after": ["x", "2026-01-01_x", "2026-01-01T00:00:00.000000+00:00_", "2026-01-01T00:00:00.000000+00:00_" + "x" * 65],
    "limit": ["0", "201", "-1", "1.0", "1e2", "²", "many"],
    "page": ["1"],
    "<b>": ["1"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_each_wrong_parameter_is_named(client: FlaskClient, logged: Logged, name: str, value: str) -> None:
    """As a problem, and on the page next to its input; what was typed stays there."""
    problem = client.get("/predictions.json", query_string={name: value}, headers=AUDITOR)
    (error,) = assert_problem(problem, 422)["errors"]
    assert error["pointer"] == f"/{name}"
    page = client.get("/predictions", query_string={name: value}, headers=AUDITOR)
    assert page.status_code == 422
    assert error["detail"] in unescape(page.text)
    assert "<b>" not in page.text
    if name in criteria.SEARCHED:
        assert f'id="s-{name}" name="{name}" type="text"' in page.text
        assert 'aria-invalid="true"' in page.text


def test_several_wrong_parameters_are_named_at_once(client: FlaskClient, logged: Logged) -> None:
    """Also one that is there twice, and an end before its beginning; an empty one was not typed."""
    query = "from=2026-02-01&to=2026-01-31T00:00&model=a&model=b&limit=x&id=&band="
    errors = assert_problem(client.get(f"/predictions.json?{query}", headers=AUDITOR), 422)["errors"]
    assert {error["pointer"]: error["detail"] for error in errors} == {
        "/model": criteria.REPEATED,
        "/limit": criteria.LIMIT,
        "/to": criteria.ORDER,
    }


@pytest.mark.attack("look-ups")
def test_every_look_up_is_an_event(client: FlaskClient, logged: Logged, ship: Ship) -> None:
    """Who, when, what was seen and how it was searched for; never an id that a caller chose. ``/monitor`` says nothing of it."""
    own = logged[1]["prediction_id"]
    for path in ("/predictions?id=loan-1&band=nothing&from=2026-01-01", "/predictions.json?record_id=loan-1",
                 f"/predictions/{own}", f"/predictions/{own}/model-card", "/predictions/unknown"):  # fmt: skip
        client.get(path, headers={**AUDITOR, "X-Request-Id": "look-1"})
    found = events(ship)
    assert [(each["what"], each["predictions"]) for each in found] == [
        ("search", []),
        ("search", [own]),
        ("prediction", [own]),
        ("model card", [own]),
        ("prediction", []),
    ]
    assert found[0]["searched"] == {"id": None, "band": "nothing", "from": "2026-01-01"}
    assert {each["by"] for each in found} == {"auditor"}
    assert {each["request_id"] for each in found} == {"look-1"}
    assert "loan-1" not in json.dumps(found)
    from services.monitoring.log_reader.queries import PredictionLog

    assert PredictionLog(str(ship().url)).events(0.0) == []


def test_what_cannot_be_recorded_is_not_shown(client: FlaskClient, logged: Logged, application: Application) -> None:
    """On a full disk, and where the log is not open."""
    writer = application.prediction_log.writer
    assert writer is not None

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    writer.append = full  # type: ignore[method-assign]
    for path in addresses(logged):
        answer = client.get(path, headers=AUDITOR)
        assert answer.status_code == 503, path
        assert "loan-1" not in answer.text.replace('value="loan-1"', "")
        assert answer.headers["Retry-After"]


def test_no_log_line_has_an_id(client: FlaskClient, logged: Logged, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither of a prediction nor of a caller, also where nobody may look, and where something fails."""
    capfd.readouterr()
    own = logged[0]["prediction_id"]
    for path in (*addresses(logged), f"/predictions/{own}/what", f"/a//predictions/{own}", f"/a/predictions/{own}"):
        for key in ({}, AUDITOR):
            client.get(path, headers=key)
    client.get("/predictions?loan-1=loan-1&model=loan-1", headers=AUDITOR)
    said = capfd.readouterr().out
    assert len(said.splitlines()) == 19
    for secret in (own, "loan-", "order-17"):
        assert secret not in said


@pytest.mark.attack("look-ups")
def test_texts_of_others_are_inert(client: FlaskClient, ship: Ship, settings: Settings) -> None:
    """Scripts in ids, inputs, bands, keys' names, versions, outcomes and reasons, on every page and in every input."""
    hostile = HOSTILE[:64]
    ship()
    record = {**LOAN, "id": hostile, "purpose": HOSTILE}
    own = client.post("/predict", json=record, headers={"X-API-Key": "desk"}).get_json()["prediction_id"]
    with ship().begin() as connection:
        change = "UPDATE predictions SET band = ?, key_name = ?, request_id = ?, reasons = ? WHERE prediction_id = ?"
        reasons = json.dumps([{"feature": HOSTILE, "text": HOSTILE, "contribution": 1.0}])
        connection.exec_driver_sql(change, (hostile, hostile, hostile, reasons, own))
        row = {"prediction_id": own, "name": hostile, "value": json.dumps(HOSTILE), "time": hostile}
        connection.execute(sa.insert(database.outcomes).values(**row))
        said = {"model_version": hostile, "probability": 0.2, "time": hostile}
        connection.execute(sa.insert(database.challenges).values(prediction_id=own, **said))
    pages = [
        client.get("/predictions", headers=AUDITOR),
        client.get("/predictions", query_string={"id": hostile, "band": hostile}, headers=AUDITOR),
        client.get("/predictions", query_string=dict.fromkeys(criteria.PARAMETERS, HOSTILE), headers=AUDITOR),
        client.get("/predictions", query_string={HOSTILE: "1"}, headers=AUDITOR),
        client.get(f"/predictions/{own}", headers=AUDITOR),
        client.get(f"/predictions/{own}/model-card", headers=AUDITOR),
    ]
    for page in pages:
        assert page.mimetype == "text/html"
        found = Elements(page.text)
        assert found.tags.isdisjoint({"img", "iframe", "object", "base"})
        assert [name for name in found.attributes if name.startswith("on") or name in ("style", "srcdoc")] == []
        assert found.scripts
        assert all(source and "/static/" in f"/{source}" for source in found.scripts)
        assert len(found.scripts) == page.text.count("<script")
    assert HOSTILE in unescape(pages[4].text)
    assert hostile in client.get(f"/predictions/{own}.json", headers=AUDITOR).get_json()["record_id"]


def test_who_was_erased_is_not_found(client: FlaskClient, logged: Logged, ship: Ship) -> None:
    """By no id, in no list, and not in what was recorded of earlier look-ups."""
    own = logged[1]["prediction_id"]
    client.get("/predictions?id=loan-1", headers=AUDITOR)
    assert audit.erase(ship(), database.predictions.c.record_id == "loan-1", {"record_id": "?"}) == 1
    for wanted in ("loan-1", own):
        assert client.get(f"/predictions.json?id={wanted}", headers=AUDITOR).get_json()["predictions"] == []
    listed = client.get("/predictions.json", headers=AUDITOR).get_json()["predictions"]
    assert {row["record_id"] for row in listed} == {"loan-0", "loan-2"}
    assert client.get(f"/predictions/{own}", headers=AUDITOR).status_code == 404
    assert "loan-1" not in json.dumps(events(ship))


def test_nobody_waits_for_those_who_look_something_up(
    client: FlaskClient, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few may do so at once in a worker; the next is told to try again, and predictions are answered."""
    from services.predictionlog import search

    seen: list[int] = []
    page = search.page

    def meanwhile(*asked: Any) -> search.Page:
        if len(seen) < 2:
            seen.append(client.get("/predictions", headers=AUDITOR).status_code)
            assert client.post("/predict", json=LOAN, headers={"X-API-Key": "desk"}).status_code == 200
        return page(*asked)

    monkeypatch.setattr(search, "page", meanwhile)
    assert client.get("/predictions", headers=AUDITOR).status_code == 200
    assert seen == [503, 200]
    assert client.get("/predictions", headers=AUDITOR).status_code == 200


def test_a_search_that_takes_too_long_is_ended(
    client: FlaskClient, logged: Logged, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the database, and it is said what helps; the log has the kind of the error."""
    from services.predictionlog import search

    endless = sa.text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")

    def stuck(engine: sa.Engine, *_: Any) -> Any:
        with engine.connect() as connection:
            return connection.execute(endless).all()

    monkeypatch.setattr(search, "page", stuck)
    monkeypatch.setattr("services.predict.lookup.log.SECONDS", 0.05)
    answer = client.get("/predictions.json?id=loan-1", headers=AUDITOR)
    assert "say more" in assert_problem(answer, 503)["detail"]
    assert answer.headers["Retry-After"]
    said = capfd.readouterr().out
    assert '"reason": "OperationalError"' in said
    assert "loan-1" not in said


def test_before_there_is_a_log_nothing_is_found_and_no_file_is_made(
    client: FlaskClient, application: Application, settings: Settings
) -> None:
    """Looking does not make a database."""
    assert client.get("/predictions.json", headers=AUDITOR).get_json() == {"predictions": [], "next": None}
    assert_problem(client.get("/predictions/x.json", headers=AUDITOR), 404)
    assert not (settings.data_dir / "predictions.sqlite").exists()


def test_without_a_log_there_is_nothing_to_look_up(settings: Settings, application: Application, keys: Path) -> None:
    """It is said."""
    own = replace(settings, prediction_log_url="none", api_keys_file=str(keys))
    client = create_app(own).flask.test_client()
    assert_problem(client.get("/predictions.json", headers=AUDITOR), 501)
    page = client.get("/predictions", headers=AUDITOR)
    assert page.status_code == 501
    assert "keeps no prediction log" in page.text


@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/html,application/xhtml+xml,*/*;q=0.8"])
def test_a_page_unless_json_is_asked_for(client: FlaskClient, logged: Logged, accept: str) -> None:
    """By the address, or by Accept."""
    assert client.get("/predictions", headers={**AUDITOR, "Accept": accept}).mimetype == "text/html"
    for sent in ("application/json", "application/json, text/html;q=0.5"):
        assert client.get("/predictions", headers={**AUDITOR, "Accept": sent}).mimetype == "application/json"
