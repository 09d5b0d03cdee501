"""``/``: the page on which one case is tried, without a browser."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from flask.testing import FlaskClient
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from modelbundle.format import archive
from modelbundle.publishing.annotations import Author, Band, FeatureWords
from modelbundle.publishing.publish import publish
from services.predict.app import Application, create_app
from services.predict.pages import formatting
from services.predict.rollout.protocol import Candidate
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import spool
from tests.conftest import LOAN, Made, make_book, make_logistic
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.api.test_predict import assert_problem, post

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'{{7*7}}"


def form(record: dict[str, Any], **more: str) -> dict[str, str]:
    return {f"f.{name}": "" if value is None else str(value) for name, value in record.items()} | more


def text(page: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def signed(shown: str) -> float:
    return float(shown.replace("−", "-").replace("±", ""))


def code(page: str, name: str) -> str:
    found = re.search(rf'<pre id="code-{name}"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert found
    return unescape(found[1])


def serve(store: StateDir, path: Path) -> None:
    """Make the file the current model."""
    content = path.read_bytes()
    sha256 = archive.digest(content)
    store.bundle(sha256).write_bytes(content)
    store.commit(Candidate("test", sha256, store.current().number))


def test_the_page_answers_before_anything_is_typed(client: FlaskClient, bundles: list[Made]) -> None:
    """With the typical case, made from the bundle; it names its model and is kept nowhere."""
    response = client.get("/")
    page = response.get_data(as_text=True)
    assert response.status_code == 200
    assert response.headers["X-Model-Version"] == bundles[0].sha256
    assert response.headers["Cache-Control"] == "no-store"
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert 'id="probability"' in page
    assert not re.search(r'<script(?! type="module" src=)| style="| on\w+="', page)


def test_the_examples_span_what_is_common(client: FlaskClient) -> None:
    """Low, typical, high: each is the probability that the page then shows, and that /predict gives its record."""
    chances = {}
    for name in ("low", "typical", "high"):
        page = client.get(f"/?example={name}").get_data(as_text=True)
        shown = re.search(r'id="probability">([\d.]+)', page)
        assert shown
        answer = post(client, json.loads(code(page, "json"))).get_json()
        assert float(shown[1]) == pytest.approx(100 * answer["predict_proba"][1], abs=0.06)
        assert answer["warnings"] == []
        chances[name] = answer["predict_proba"][1]
    assert chances["low"] < chances["typical"] < chances["high"]


def test_what_is_typed_gets_the_answer_of_the_api(client: FlaskClient) -> None:
    """The same probability, band and reasons as /predict, and the terms add up from the average case to this one."""
    page = client.post("/", data=form(LOAN)).get_data(as_text=True)
    answer = post(client, LOAN, "?contributions=all").get_json()
    assert f"{100 * answer['predict_proba'][1]:.1f}" in text(page)
    for reason in answer["reasons"]:
        assert reason["text"] in text(page)
    amounts = [signed(a) for a in re.findall(r'<span class="amount">([^<%]+)</span>', page[page.index('id="why"') :])]
    baseline, *terms, score = amounts[: len(LOAN) + 2]
    assert baseline == pytest.approx(answer["baseline"], abs=0.0006)
    assert sorted(terms) == pytest.approx(sorted(answer["contributions"].values()), abs=0.0006)
    assert score == pytest.approx(baseline + sum(terms), abs=0.0006 * len(amounts))


def test_the_code_asks_the_same(client: FlaskClient) -> None:
    """JSON, curl and Python carry the record as typed; what is not stated is left out."""
    page = client.post("/", data=form(LOAN)).get_data(as_text=True)
    stated = {name: value for name, value in LOAN.items() if value is not None}
    assert json.loads(code(page, "json")) == stated
    command = shlex.split(code(page, "curl"))
    assert command[:2] == ["curl", "http://localhost/predict"]
    assert json.loads(command[command.index("-d") + 1]) == stated
    tree = ast.parse(code(page, "python"))
    case = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(case) == stated


def test_what_is_tried_is_not_recorded(application: Application, client: FlaskClient) -> None:
    """Neither in the prediction log nor in the counts that monitoring compares; /predict is."""
    application.prediction_log._begin()
    before = spool.size(application.prediction_log.root)
    assert client.post("/", data=form(LOAN)).status_code == 200
    assert client.get("/?example=high").status_code == 200
    assert spool.size(application.prediction_log.root) == before
    assert not application.observer.bands
    post(client, LOAN)
    assert spool.size(application.prediction_log.root) > before
    assert len(application.observer.bands) == 1
    application.prediction_log.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount": "-5"}, "must be at least 0 USD"),
        ({"amount": "12 thousand"}, "must be a number, such as 12000 or 0.5"),
        ({"amount": "1" * 5000}, "must be a number, such as 12000 or 0.5"),
        ({"amount": "nan"}, "must be a number, such as 12000 or 0.5"),
        ({"amount": "1e999"}, "must be a finite number"),
        ({"amount": ""}, "missing; required"),
        ({"grade": ""}, "missing; required"),
        ({"purpose": "x" * 300}, "must be at most 256 characters of valid Unicode"),
    ],
)
def test_what_does_not_fit_is_said_beside_its_input(client: FlaskClient, change: dict[str, str], said: str) -> None:
    """422, the input is marked, what was typed stays in it, and there is no probability."""
    response = client.post("/", data=form({**LOAN, **change}))
    page = response.get_data(as_text=True)
    assert response.status_code == 422
    assert f'<span class="problem">{said}</span>' in page
    assert page.count('aria-invalid="true"') == 1
    assert "1 input needs your attention" in page
    assert 'id="probability"' not in page
    assert 'value="0.13"' in page


def test_what_training_had_not_seen_is_scored_and_said(client: FlaskClient) -> None:
    """A value beyond the range, and a category that is not known: both are answered, with a word beside the input."""
    response = client.post("/", data=form({**LOAN, "amount": 900000, "purpose": "submarine"}))
    page = response.get_data(as_text=True)
    assert response.status_code == 200
    assert page.count('<span class="warning">') == 2
    assert "beyond what is drawn" in client.post("/", data=form({**LOAN, "amount": 900000}, curve="amount")).text
    assert '<option value="submarine" selected>' in page


@pytest.mark.parametrize("feature", list(LOAN))
def test_every_feature_has_its_what_if(client: FlaskClient, feature: str) -> None:
    """A line for a number, a bar for each choice of a category; this case is on it, with the probability it has."""
    page = client.post("/", data=form(LOAN, curve=feature)).get_data(as_text=True)
    own = page[page.index('id="whatif"') : page.index('id="why"')]
    shown = re.search(r'id="probability">([^<]+)<', page)
    assert shown
    assert text(shown[1]) in text(own)
    if isinstance(LOAN[feature], str):
        assert own.count('aria-pressed="true"') == 1
        return
    data = json.loads(unescape(re.search(r'data-curve="([^"]+)"', own)[1]))  # type: ignore[index]
    assert len(data["values"]) == len(data["heights"]) == len(data["percents"])
    assert data["values"] == sorted(data["values"])
    assert "Not stated:" in own if feature == "emp_length" else "Not stated:" not in own


def test_nothing_that_a_bundle_or_a_visitor_says_is_more_than_text(
    client: FlaskClient, store: StateDir, tmp_path: Path
) -> None:
    """Titles, texts, units, bands, names and categories that try to be markup are shown as they are."""
    frame, labels = make_book(400)
    frame = frame.drop(columns="emp_length").rename(columns={"amount": HOSTILE})
    frame["purpose"] = np.where(frame["purpose"] == "car", HOSTILE, frame["purpose"])
    pipeline = make_logistic()
    pipeline.set_params(encode__transformers=[
        (name, step, [HOSTILE if c == "amount" else c for c in columns])
        for name, step, columns in pipeline.named_steps["encode"].transformers
    ])  # fmt: skip
    words = FeatureWords(title=HOSTILE, description=HOSTILE, unit=HOSTILE, high=HOSTILE, low=HOSTILE)
    bands = [Band(HOSTILE, 0.2, 0.1, 0.5), Band("high", 1.0, 0.3, 0.5)]
    author = Author("hostile", HOSTILE, HOSTILE, {HOSTILE: words}, bands, {}, {}, "# Card")
    serve(store, publish(pipeline.fit(frame, labels), frame, labels, tmp_path / "h.bundle", author=author).path)
    record = {HOSTILE: 12000, "int_rate": 0.2, "grade": "C", "purpose": HOSTILE}
    for page in (
        client.get("/?example=high").text,
        client.post("/", data=form(record, curve=HOSTILE)).text,
        client.post("/", data=form(record, curve="purpose")).text,
        client.post("/", data=form({**record, HOSTILE: HOSTILE})).text,
    ):
        assert "<script>" not in page
        assert "<img" not in page
        assert "{{7*7}}" in page
        assert "&lt;script&gt;alert(1)" in page
    command = shlex.split(code(client.post("/", data=form(record)).text, "curl"))
    assert json.loads(command[-1]) == record


def test_a_plain_pipeline_is_tried_too(client: FlaskClient, store: StateDir, tmp_path: Path) -> None:
    """No words, no ranges, no bands, no terms: what there is is shown."""
    frame, labels = make_book(400)
    frame = frame.drop(columns="emp_length")
    joblib.dump(make_logistic().fit(frame, labels), tmp_path / "plain.joblib")
    serve(store, tmp_path / "plain.joblib")
    record = {"amount": 12000, "int_rate": 0.2, "grade": "C", "purpose": "car"}
    page = client.post("/", data=form(record)).text
    assert f"{100 * post(client, record).get_json()['predict_proba'][1]:.1f}" in page
    assert "no exact parts" in page
    assert client.get("/").status_code == 200


def test_a_forest_has_its_what_if_too(client: FlaskClient, store: StateDir, tmp_path: Path) -> None:
    """It has no exact terms, so the line is what the model answers over the range that training had seen."""
    frame, labels = make_book(400)
    frame = frame.drop(columns="emp_length")
    encode = make_logistic().named_steps["encode"]
    pipeline = Pipeline([("encode", encode), ("model", RandomForestClassifier(8, max_depth=4, random_state=0))])
    author = Author("forest", "Forest", "late", {}, [], {}, {}, "# Card")
    path = publish(pipeline.fit(frame, labels), frame, labels, tmp_path / "forest.bundle", author=author).path
    serve(store, path)
    page = client.get("/?example=high").text
    assert "no exact parts" in page
    record = json.loads(code(page, "json"))
    page = client.post("/", data=form(record, curve="int_rate")).text
    data = json.loads(unescape(re.search(r'data-curve="([^"]+)"', page)[1]))  # type: ignore[index]
    for k in (0, len(data["values"]) // 2, -1):
        answer = post(client, {**record, "int_rate": data["values"][k]}).get_json()
        assert data["percents"][k] == formatting.percent(answer["predict_proba"][1])


def test_of_many_classes_all_are_shown(client: FlaskClient, store: StateDir, tmp_path: Path) -> None:
    """The probability is that of the last class; the others stand beside it."""
    frame, labels = make_book(400)
    frame = frame.drop(columns="emp_length")
    joblib.dump(make_logistic().fit(frame, labels + (frame["amount"] > 30000)), tmp_path / "three.joblib")
    serve(store, tmp_path / "three.joblib")
    record = {"amount": 12000, "int_rate": 0.2, "grade": "C", "purpose": "car"}
    page = client.post("/", data=form(record)).text
    classes = page[page.index('<dl class="classes">') : page.index("</dl>")]
    answer = post(client, record).get_json()
    for label, chance in enumerate(answer["predict_proba"]):
        said = f"{label} (predicted)" if label == answer["prediction"] else str(label)
        assert text(f"{said} {formatting.percent(chance)}") in text(classes)


def test_without_a_model_the_page_says_so(settings: Settings) -> None:
    """And comes by itself when one answers."""
    client = create_app(settings).flask.test_client()
    for response in (client.get("/"), client.post("/", data=form(LOAN))):
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert "No model answers yet" in response.text


def test_only_a_form_of_a_sane_size_is_read(client: FlaskClient, store: StateDir) -> None:
    """Anything else is a problem document, as everywhere."""
    assert_problem(client.post("/", data="{}", content_type="application/json"), 415)
    kind = "application/x-www-form-urlencoded"
    assert_problem(client.post("/", data=b"\xff\xfe=1", content_type=kind), 400)
    assert_problem(client.post("/", data="&".join(["a=1"] * 25_000), content_type=kind), 400)
    settings = Settings.from_environment({"STATE_DIR": store.root.as_posix()})
    larger = create_app(settings, store).flask.test_client()
    assert_problem(larger.post("/", data={"a": "1" * (1 << 18)}), 413)


def test_with_keys_the_page_asks_for_one(
    settings: Settings, store: StateDir, bundles: list[Made], tmp_path: Path
) -> None:
    """An example is open, as it is the bundle's own; a case needs a key, in a header or in the form, which is never echoed."""
    make_current(store, bundles[0])
    store.settle()
    (tmp_path / "keys").write_text(f"desk {hashlib.sha256(b'open-sesame').hexdigest()}\n", "utf-8")
    client = create_app(replace(settings, api_keys_file=str(tmp_path / "keys")), store).flask.test_client()
    assert 'id="key"' in client.get("/").text
    for given, status in (({}, 401), ({"key": "wrong-key"}, 403), ({"key": "open-sesame"}, 200)):
        response = client.post("/", data=form(LOAN, **given))
        assert response.status_code == status
        assert ('id="probability"' in response.text) == (status == 200)
        assert "sesame" not in response.text
        assert "wrong-key" not in response.text
        assert ("An API key is needed" in response.text) == (status == 401)
        assert ("This API key is not known" in response.text) == (status == 403)
    assert client.post("/", data=form(LOAN), headers={"X-API-Key": "open-sesame"}).status_code == 200
    assert "$API_KEY" in code(client.post("/", data=form(LOAN, key="open-sesame")).text, "curl")


def test_files_are_kept_for_ever_under_an_address_that_changes_with_them(client: FlaskClient) -> None:
    """Under an address of another day they are sent all the same, and not kept; nothing else is sent."""
    address = re.search(r'href="(static/[^"]+/page\.css)"', client.get("/").text)
    assert address
    today = client.get(f"/{address[1]}")
    assert today.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get(f"/{address[1]}", headers={"If-None-Match": today.headers["ETag"]}).status_code == 304
    other = client.get("/static/yesterday/page.css")
    assert (other.data, other.headers["Cache-Control"]) == (today.data, "no-cache")
    assert client.get("/static/yesterday/../pages.py").status_code == 404
    assert client.get("/static/yesterday/nothing.css").status_code == 404
