"""``/deployments``: who may look, what is told of each event, two models side by side, and the way back."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from modelbundle.format import archive, bundle, manifest
from services import private
from services.deployment.history import TAKEN_BACK, History
from services.deployment.target import ModelFile
from services.predict.app import Application, create_app
from services.predict.lookup import deployment_log, deployment_telling, side_by_side
from services.predict.lookup.deployment_log import Event
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import database, event
from tests.conftest import Made
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.api.test_predict import assert_problem
from tests.unit.services.predict.lookup.conftest import AUDITOR
from tests.unit.services.predict.lookup.test_lookup import Elements
from tests.unit.services.predict.pages.test_try_it import HOSTILE, text

HTML = {"Accept": "text/html", **AUDITOR}
ADDRESSES = ("/deployments", "/deployments.json", "/deployments/compare", "/deployments/compare.json")
GATES = {"rows": 5000, "refused": 12, "mean": [0.0232, 0.0251], "other_band": 0.031, "warnings": ["scores: meant"]}


class Log:
    """Writes events into the database, a second apart."""

    def __init__(self, settings: Settings) -> None:
        private.directory(settings.data_dir)
        self.engine = database.connect(settings.prediction_log_url)
        database.migrate(self.engine)
        self.number = 0

    def add(self, kind: str, detail: dict[str, Any] | str) -> None:
        self.number += 1
        minute, second = divmod(self.number, 60)
        row = {
            "event_id": f"e{self.number}",
            "time": f"2026-01-31T09:{minute:02}:{second:02}.000000+00:00",
            "kind": kind,
            "detail": detail if isinstance(detail, str) else json.dumps(detail),
        }
        with self.engine.begin() as connection:
            connection.execute(sa.insert(database.events), row)


@pytest.fixture
def log(settings: Settings) -> Log:
    return Log(settings)


def deployed(file: str, sha256: str, **more: Any) -> dict[str, Any]:
    plain = {"user": "ann", "target": "compose", "action": "deploy", "result": "accepted", "why": "more data"}
    return {**plain, "file": file, "sha256": sha256, **more}


@pytest.fixture
def told(log: Log, bundles: list[Made], store: StateDir) -> None:
    """The first model was found, the second deployed, a third refused."""
    first, second = bundles[0].sha256, bundles[1].sha256
    make_current(store, bundles[1])
    statement = {"key": "ab" * 32, "sequence": 17}
    log.add(event.SWITCH, {"old": None, "model_version": first, "generation": 1, "host": "h"})
    more = {"generation": 2, "seconds": 1.2, "gates": GATES, "allow": ["scores"], "statement": statement}
    log.add(event.SWITCH, {"old": first, "model_version": second, "host": "h", **more})
    log.add(event.DEPLOYMENT, deployed("second.bundle", second))
    seen = {
        "generation": 3,
        "requests": 34,
        "failures": {"it raises ZeroDivisionError": 1},
        "misfits": {},
        "slow_requests": 0,
    }
    refusal = {"model_version": "c" * 64, "why": "probation", "reason": "1 of 34 requests failed", "evidence": seen}
    log.add(event.REFUSAL, {**refusal, "pin": "x", "host": "h"})
    log.add(event.LOOKUP, {"by": "auditor", "what": "search"})


@pytest.mark.attack("look-ups")
def test_without_the_role_there_is_nothing_here(client: FlaskClient, told: None) -> None:
    """Whatever the method and the key; with the role, they are only read."""
    for path in ADDRESSES:
        for key in ({}, {"X-API-Key": "desk"}, {"X-API-Key": "nobody"}):
            for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"):
                found = client.open(path, method=method, headers=key)
                nowhere = client.open(path.replace("deployments", "deploymönts"), method=method, headers=key)
                assert found.status_code == nowhere.status_code in (401, 403, 404)
                assert found.mimetype == nowhere.mimetype
            assert client.get(path, headers=key).status_code == 404
        assert client.options(path, headers=AUDITOR).status_code == 405
    assert client.get("/deployments", headers=AUDITOR).status_code == 200


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("::1", 200), ("0.0.0.0", 404)])
def test_without_keys_they_are_there_on_loopback_only(
    settings: Settings, store: StateDir, bundles: list[Made], told: None, host: str, status: int
) -> None:
    client = create_app(replace(settings, host=host), store).flask.test_client()
    assert client.get("/deployments").status_code == status
    assert (">Deployments</a>" in client.get("/").text) == (status == 200)


def test_it_says_who_when_why_signed_by_whom_and_with_what_evidence(
    client: FlaskClient, told: None, bundles: list[Made]
) -> None:
    page = client.get("/deployments", headers=HTML)
    said = text(page.text)
    assert "Deploy: accepted 2026-01-31 09:00:03.000 UTC" in said
    assert "Who ann" in said
    assert "Why more data" in said
    assert f"Signed with the key {'ab' * 8}…, as number 17" in said
    assert "Gates lifted scores" in said
    assert "of the last 5,000 logged rows, 12 would be refused; mean probability 0.0251, before 0.0232" in said
    assert "3.10% of these rows are in another band; allowed, scores: meant" in said
    assert "Refused: probation" in said
    assert "Reason 1 of 34 requests failed" in said
    assert "34 requests on probation; 1 failed (it raises ZeroDivisionError)" in said
    assert f"second.bundle ({bundles[1].sha256[:12]}) answers" in said
    assert "auditor" not in said  # a look-up is no deployment
    assert page.headers["Cache-Control"] == "no-store"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert not re.search(r'<script(?! type="module" src=)| style="| on\w+="', page.text)


def test_the_same_as_json(client: FlaskClient, told: None, bundles: list[Made]) -> None:
    found = client.get("/deployments.json", headers=AUDITOR).get_json()
    assert [one["kind"] for one in found["events"]] == ["refusal", "deployment", "switch", "switch"]
    assert found["events"][1]["detail"]["user"] == "ann"
    assert found["next"] is None
    assert found["back"]["version"] == bundles[0].sha256
    kept = {one["version"]: one["role"] for one in found["kept"]}
    assert kept == {bundles[1].sha256: "answers now", bundles[0].sha256: "answered before"}


def test_only_refusals(client: FlaskClient, told: None) -> None:
    found = client.get("/deployments.json?kind=refusal", headers=AUDITOR).get_json()
    assert [one["kind"] for one in found["events"]] == ["refusal"]


def test_pages_follow_each_other_without_a_gap(client: FlaskClient, application: Application, log: Log) -> None:
    """Each event is once on one of them, while others come."""
    for number in range(120):
        log.add(
            (event.SWITCH, event.REFUSAL, event.LOOKUP)[number % 3], {"model_version": "a" * 64, "generation": number}
        )
    seen: list[int] = []
    address: str | None = "deployments.json"
    while address:
        found = client.get(f"/{address}", headers=AUDITOR).get_json()
        assert len(found["events"]) <= 50
        seen += [one["detail"]["generation"] for one in found["events"]]
        address = found["next"]
        log.add(event.SWITCH, {"model_version": "b" * 64, "generation": 1000})
    assert seen == [number for number in range(119, -1, -1) if number % 3 != 2]
    page = client.get("/deployments", headers=HTML).text
    following = re.search(r'rel="next" href="(deployments\?[^"]+)"', page)
    assert following
    assert client.get(f"/{unescape(following[1])}", headers=HTML).status_code == 200


@pytest.mark.parametrize(
    "query", ["before=0", "before=x", f"before={'9' * 30}", "kind=lookup", "kind=%00", "q=1", "before=1&before=2"]
)
def test_a_wrong_parameter_is_named(client: FlaskClient, told: None, query: str) -> None:
    problem = assert_problem(client.get(f"/deployments.json?{query}", headers=AUDITOR), 422)
    assert problem["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"
    page = client.get(f"/deployments?{query}", headers=HTML)
    assert page.status_code == 422
    assert 'role="alert"' in page.text


@pytest.mark.attack("look-ups")
def test_texts_of_others_are_inert(
    client: FlaskClient, application: Application, log: Log, bundles: list[Made]
) -> None:
    """In every field of every kind of event, also as a name; rows that were changed by hand are named."""
    plain = client.get("/deployments", headers=HTML).text
    for kind, shape in (
        (event.DEPLOYMENT, "deploy"),
        (event.SWITCH, HOSTILE),
        (event.REFUSAL, HOSTILE),
        (event.CHALLENGE, HOSTILE),
    ):
        detail: dict[str, Any] = dict.fromkeys(
            (
                "user",
                "why",
                "reason",
                "file",
                "old",
                "taken_back",
                "target",
                "host",
                "request_id",
                "result",
                "sha256",
                "model_version",
            ),
            HOSTILE,
        )
        odd = {
            "gates": {"not_compared": HOSTILE, "warnings": [HOSTILE]},
            "evidence": {HOSTILE: HOSTILE},
            "allow": [HOSTILE],
        }
        log.add(kind, {**detail, "action": shape, **odd, "statement": {"key": HOSTILE, "sequence": HOSTILE}})
        log.add(
            kind, {**detail, "result": "accepted", "action": shape, "sha256": [HOSTILE], "model_version": {HOSTILE: 1}}
        )
        log.add(kind, {name: [[HOSTILE]] for name in (*detail, *odd, "statement", "share", "seconds", "generation")})
        for raw in (HOSTILE, "[1]", '"x"', "", "[" * 90_000):
            log.add(kind, raw)
    for kind in deployment_log.KINDS:
        shown = client.get(f"/deployments?kind={kind}", headers=HTML)
        assert shown.status_code == 200
        assert HOSTILE in unescape(shown.text)
        found, before = Elements(shown.text), Elements(plain)
        assert found.tags - before.tags <= {
            "ol",
            "h3",
            "dl",
            "div",
            "dt",
            "dd",
            "details",
            "summary",
            "pre",
            "code",
            "time",
        }
        assert found.scripts == before.scripts
        assert not {name for name in found.attributes if name.startswith("on")}
        assert deployment_telling.UNREADABLE in shown.text
    assert client.get("/deployments.json", headers=AUDITOR).status_code == 200


def test_the_way_back_is_named_with_file_and_hash(
    client: FlaskClient, log: Log, store: StateDir, bundles: list[Made]
) -> None:
    """As the documentation says it; a file's name that is not plain is in no command."""
    first, second = bundles[0].sha256, bundles[1].sha256
    make_current(store, bundles[1])
    log.add(event.DEPLOYMENT, deployed("first.bundle", first))
    log.add(event.DEPLOYMENT, deployed("second.bundle", second))
    page = client.get("/deployments", headers=HTML).text
    assert '<pre tabindex="0">make rollback</pre>' in page
    assert f"MODEL_FILE_NAME=first.bundle\nMODEL_SHA256={first}</pre>" in page
    assert '<pre tabindex="0">docker-compose up -d model</pre>' in page
    assert f"goes back to first.bundle , SHA-256 {first}" in text(page)
    log.add(event.DEPLOYMENT, deployed("first.bundle\nX=$(reboot)", first))
    log.add(event.DEPLOYMENT, deployed("second.bundle", second))
    page = client.get("/deployments", headers=HTML).text
    assert "MODEL_FILE_NAME" not in page
    assert "make rollback</pre>" in page


def test_without_an_earlier_model_there_is_no_command(client: FlaskClient, log: Log, bundles: list[Made]) -> None:
    page = client.get("/deployments", headers=HTML).text
    assert "The log knows no earlier model" in page
    assert "data-copy" not in page


@pytest.mark.parametrize("seed", range(40))
def test_the_way_back_is_where_make_rollback_goes(tmp_path: Path, seed: int) -> None:
    """Whatever was deployed, promoted, refused, rolled back and taken back before."""
    chance, history, logged = random.Random(seed), History(tmp_path / "deployments.jsonl"), list[Event]()
    answering = ModelFile("m0", "0" * 64)

    def note(kind: str, detail: dict[str, Any]) -> None:
        number = len(logged) + 1
        logged.append(Event(number, f"2026-01-31T09:00:00.{number:06}+00:00", kind, detail))

    for _ in range(chance.randint(1, 12)):
        action = chance.choice(["deploy", "deploy", "deploy", "promote", "rollback", "refused", "challenge"])
        number = chance.randint(1, 4)
        pin = ModelFile(f"m{number}", f"{number}" * 64)
        if action in ("refused", "challenge"):
            how = ("deploy", "refused") if action == "refused" else (action, "accepted")
            note(event.DEPLOYMENT, history.add("compose", how[0], pin, how[1]))
            continue
        if action == "rollback":
            if (found := history.previous("compose", answering)) is None:
                continue
            pin = found
        elif history.previous("compose", None) is None:
            history.add("compose", "found", answering, "accepted")
        if not pin.same_model(answering):
            note(event.SWITCH, {"old": answering.sha256, "model_version": pin.sha256})
        note(event.DEPLOYMENT, history.add("compose", action, pin, "accepted"))
        before, answering = answering, pin
        expected = history.previous("compose", answering)
        known = deployment_log.back(logged, answering.sha256)
        assert (known.version if known else None) == (expected.sha256 if expected else None)
        if chance.random() < 0.2 and expected is not None:
            note(event.SWITCH, {"old": pin.sha256, "model_version": expected.sha256, "taken_back": pin.sha256})
            history.add("compose", TAKEN_BACK, pin, TAKEN_BACK)
            expected, known = history.previous("compose", pin), deployment_log.back(logged, pin.sha256)
            assert (known.version if known else None) == (expected.sha256 if expected else None)
            answering = before


def test_two_kept_models_side_by_side(
    client: FlaskClient, store: StateDir, log: Log, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From their manifests: no other entry is read, nothing is scored. The command for the rows names both files."""
    for made in bundles[:2]:
        make_current(store, made)
    first, second = bundles[0].sha256, bundles[1].sha256
    log.add(event.DEPLOYMENT, deployed("first.bundle", first))
    log.add(event.DEPLOYMENT, deployed("it's.bundle", second))
    assert client.get("/deployments", headers=HTML).status_code == 200  # the current model is loaded
    monkeypatch.setattr(bundle, "load", lambda *_, **__: pytest.fail("a whole bundle is read"))
    page = client.get(f"/deployments/compare?a={first}&b={second}", headers=HTML)
    assert page.status_code == 200
    for title in ("The model", "Where it comes from", "Features", "Figures"):
        assert f">{title}</h2>" in page.text
    assert """make compare BUNDLE='models/it'"'"'s.bundle' WITH=models/first.bundle""" in unescape(page.text)
    found = client.get(f"/deployments/compare.json?a={first}&b={second}", headers=AUDITOR).get_json()
    assert found["models"] == [first, second]
    offered = client.get("/deployments", headers=HTML).text
    assert f'<option value="{first}"' in offered


@pytest.mark.parametrize("query", ["", "a=x&b=y", "a=..%2F..%2Fetc%2Fpasswd&b=", f"a={'0' * 64}&b={'1' * 64}", "c=1"])
def test_only_kept_models_are_compared(client: FlaskClient, told: None, query: str) -> None:
    assert_problem(client.get(f"/deployments/compare.json?{query}", headers=AUDITOR), 422)
    page = client.get(f"/deployments/compare?{query}", headers=HTML)
    assert page.status_code == 422
    assert 'role="alert"' in page.text


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"joblib", b"\0" * 70_000])
def test_a_damaged_file_is_named(
    client: FlaskClient, store: StateDir, told: None, bundles: list[Made], content: bytes
) -> None:
    store.bundle("d" * 64).write_bytes(content)
    assert "the model's file is not read here" in unescape(client.get("/deployments", headers=HTML).text)
    asked = client.get(f"/deployments/compare.json?a={'d' * 64}&b={bundles[1].sha256}", headers=AUDITOR)
    assert "is not read here" in assert_problem(asked, 404)["detail"]


def changed(made: Made, **members: Any) -> manifest.Manifest:
    data = json.loads(archive.unpack(made.path.read_bytes())[manifest.NAME])
    return manifest.read(manifest.dump({**data, **members}))


def test_what_differs_is_found_beyond_what_is_shown(bundles: list[Made]) -> None:
    """Features that come, go and change, also in the last of a thousand categories; texts are cut, comparisons not."""
    plain = changed(bundles[0])
    features = plain.schema.to_json()["features"]
    names = [f"category-{n:04}" for n in range(1000)]

    def schema(last: str, *more: dict[str, Any]) -> dict[str, Any]:
        many = {"name": "many", "kind": "category", "required": False, "categories": [*names, last]}
        return {"features": [many, *more]}

    golden = {"rows": [[None, None]], "scores": [0.0]}
    number = {"kind": "number", "required": False}
    old = changed(bundles[0], schema=schema("x", {"name": "old", **number}), golden=golden)
    new = changed(bundles[0], schema=schema("y", {"name": "new", **number}), golden=golden)
    found = {section.title: section for section in side_by_side.sections(old, new)}
    notes = {row.title: row.note for row in found["Features"].rows}
    assert notes == {"many": "changed; gone: x; new: y", "old": "removed", "new": "added"}
    assert all(len(row.first or "") <= side_by_side.MOST_CHARACTERS + 1 for row in found["Features"].rows)
    same = {section.title: section for section in side_by_side.sections(plain, plain)}
    assert same["Features"].rows == []
    assert same["Features"].same == len(features)
    assert not any(row.differs for section in same.values() for row in section.rows)
