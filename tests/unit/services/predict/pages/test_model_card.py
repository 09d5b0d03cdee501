"""``/model-card``: what the bundle says of the model, whatever bundle it is, and nothing of it trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelbundle.explain.curves import curves
from modelbundle.format import archive, bundle, manifest
from services.predict.app import Application, create_app
from services.predict.pages import model_card, rendering
from services.predict.pages.bundle_documents import BundleDocuments
from services.predict.pages.charts import feature_curves
from services.predict.pages.model_card import Figure, figures
from services.predict.rollout.protocol import Candidate
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import Made

GROUP: dict[str, Any] = {"rows": 500, "outcomes": 400, "unanswered": 0, "figures": {}, "notes": []}
FAIRNESS = {"model": "a" * 64, "reference": "north", "least": 100, "fingerprint": "b" * 64, "unnamed": [2, 21]}


@pytest.fixture
def change(store: StateDir, settings: Settings, bundles: list[Made]) -> Callable[..., FlaskClient]:
    """A client of an application that answers with a changed bundle: entries by name (None takes one away)."""

    def changed(about: Callable[[Any], None] = lambda _: None, **entries: bytes | None) -> FlaskClient:
        found = archive.unpack(bundles[0].path.read_bytes())
        found.update({name.replace("_dot_", "."): content for name, content in entries.items() if content is not None})
        for name in [name.replace("_dot_", ".") for name, content in entries.items() if content is None]:
            del found[name]
        data = json.loads(found.pop(manifest.NAME))
        about(data)
        data["files"] = manifest.listing(found)
        content = archive.pack({**found, manifest.NAME: manifest.dump(data)})
        sha256 = archive.digest(content)
        store.bundle(sha256).write_bytes(content)
        store.commit(Candidate("test", sha256, store.current().number))
        store.settle()
        return create_app(settings, store).flask.test_client()

    return changed


def shown(text: str) -> str:
    """The page without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_the_page_has_all_that_the_bundle_says(client: FlaskClient, bundles: list[Made]) -> None:
    """Identity, figures, bands, a curve per feature, pairs, proof."""
    response = client.get("/model-card")
    assert response.status_code == 200
    assert response.headers["X-Model-Version"] == bundles[0].sha256
    text = shown(response.text)
    assert bundles[0].sha256 in text
    assert re.search(r"ROC-AUC how often [^|]* 1 is perfect 0\.7", text)
    assert "moderate 10 % to 30 % 40 % 20 %" in text.replace("\u202f", " ")
    assert "above 30" in text
    assert response.text.count('<figure class="chart"') == 5 + 2
    assert "compared with the scikit-learn pipeline on" in text
    assert "takes models without a signature" in text


def test_the_cards_words_are_text(change: Callable[..., FlaskClient]) -> None:
    """What a bundle's author typed cannot become markup, an address or a script."""
    evil = '<script>alert(1)</script> [x](javascript:alert(1)) "><img src=x onerror=alert(1)>'

    def about(data: Any) -> None:
        data["title"] = data["positive"] = evil
        data["schema"]["features"][0]["description"] = evil
        data["training"][evil] = evil
        data["metrics"] = {evil: 0.5}

    client = change(about, card_dot_md=f"## {evil}\n\n{evil}\n\n- {evil}\n\n|{evil}|\n|---|\n|{evil}|\n".encode())
    text = client.get("/model-card").text
    assert "<script>alert" not in text
    assert "<img" not in text
    assert 'href="javascript' not in text
    assert "&lt;script&gt;alert(1)" in text


def test_figures_by_group_are_shown_where_there_are_some(
    change: Callable[..., FlaskClient], client: FlaskClient
) -> None:
    """With intervals, with what is too small and what is not named, and whatever is in the names and notes is text."""
    assert 'id="groups"' not in client.get("/model-card").text
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    groups = [
        {**GROUP, "name": "north", "figures": {"refusal_rate": {"value": 0.125, "low": 0.1, "high": 0.15}}},
        {
            **GROUP,
            "name": evil,
            "figures": {"refusal_ratio": {"value": 2.0, "low": 1.5, "high": None}},
            "notes": [evil],
        },
        {**GROUP, "name": None, "rows": 7, "outcomes": 0, "unanswered": 3, "notes": ["Too small: 7 rows."]},
    ]
    about = {"column": evil, "source": evil, "decision": evil, "method": evil, "notes": [evil], "groups": groups}
    response = change(lambda data: data.update(fairness={**FAIRNESS, **about})).get("/model-card")
    assert response.status_code == 200
    section = response.text.partition('id="groups"')[2].partition("</section>")[0]
    for markup in ("<script", "<img", ')"><'):
        assert markup not in section
    text = shown(section)
    for words in ("12.50 %", "10.00 % to 15.00 %", "2.000", "from 1.500", "group not known: Too small: 7 rows."):
        assert words in text
    assert "north (reference)" in text
    assert "3 more rows were not accepted by the model" in text
    assert "Too small to be named: 2 more groups, 21 rows in all" in text
    assert text.count("&lt;script&gt;alert(1)") > 6


def test_a_bundle_without_card_curves_and_figures_says_what_is_missing(change: Callable[..., FlaskClient]) -> None:
    """And who can give it."""

    def about(data: Any) -> None:
        data["metrics"], data["bands"], data["training"] = {}, [], {}

    client = change(about, card_dot_md=None, reference_dot_json=None)
    text = shown(client.get("/model-card").text)
    assert "came without figures" in text
    assert "came without a card" in text
    assert client.get("/model-card/card.md").status_code == 404
    assert client.get("/model-card/card.html").status_code == 404


def test_the_cards_are_downloads_without_rights(change: Callable[..., FlaskClient]) -> None:
    """HTML that came with a model is shown in a sandbox: no scripts, no origin, nothing loaded."""
    client = change(card_dot_html=b"<!doctype html><script>alert(1)</script>")
    markdown = client.get("/model-card/card.md")
    assert markdown.text == "# Card"
    assert "attachment" in markdown.headers["Content-Disposition"]
    page = client.get("/model-card/card.html")
    assert page.mimetype == "text/html"
    assert page.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_the_numbers_behind_the_curves_can_be_had(client: FlaskClient, bundles: list[Made]) -> None:
    """As drawn, with the model's version."""
    document = client.get("/model-card/curves.json").get_json()
    model = bundle.read(bundles[0].path)
    assert document["model_version"] == bundles[0].sha256
    assert [curve["feature"] for curve in document["curves"]] == list(model.schema.names)
    assert document["curves"][0]["starts"] == list(curves(model, {}).curves[0].starts)  # type: ignore[union-attr]
    assert len(document["surfaces"]) == 2


def test_without_a_model_the_page_says_so(client: FlaskClient, store: StateDir) -> None:
    """With the status that says it too."""
    (store.root / "current").unlink()
    assert client.get("/model-card").status_code == 503
    assert client.get("/model-card/curves.json").status_code == 503


def test_a_signature_is_checked_when_the_page_is_asked_for(application: Application, tmp_path: Path) -> None:
    """Where keys are set and the statement is gone, the page does not call the model signed."""
    from services.predict.rollout.signature_policy import SignaturePolicy

    keys = tmp_path / "keys.pem"
    keys.write_text("", "utf-8")
    trust = SignaturePolicy(keys, application.store, tmp_path / "statement.json")
    app = Flask("services.predict", template_folder="pages/templates")
    rendering.init_app(app, keyed=False)
    store = application.store
    app.register_blueprint(model_card.blueprint(application.models, BundleDocuments(store), store, trust))
    assert "Not valid now: the model is not signed" in shown(app.test_client().get("/model-card").text)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (None, []),
        ({"auc": "good"}, []),
        ({"my_own": 0.25}, [("", [Figure("My own", "0.25", "", "")], "")]),
        (
            {"test": {"loss": {"value": 1, "low": 0.5, "high": 2}, "method": "a split"}},
            [("Test", [Figure("Loss", "1", "0.5 to 2", "")], "a split")],
        ),
        (
            {"folds": {"loss": {"value": 1}}, "method": "five"},
            [("Folds", [Figure("Loss", "1", "", "")], "five")],
        ),
    ],
)
def test_figures_are_shown_as_the_author_grouped_them(metrics: Any, expected: Any) -> None:
    """Numbers with or without intervals; what is no figure is left out."""
    assert list(figures(metrics)) == expected


def test_drawings_stay_inside_and_share_one_scale(bundles: list[Made]) -> None:
    """Every shape lies in its picture, and the features that matter most come first."""
    model = bundle.read(bundles[0].path)
    reference = json.loads(archive.unpack(bundles[0].path.read_bytes())["reference.json"])
    found = curves(model, reference)
    drawings = feature_curves.draw(found, model.schema)
    sizes = [drawing.size for drawing in drawings if drawing.size is not None]
    assert sizes == sorted(sizes, reverse=True)
    for drawing in drawings:
        numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", drawing.line)]
        assert all(0 <= x <= feature_curves.WIDTH for x in numbers[::2])
        assert all(0 <= y <= drawing.height for y in numbers[1::2])
        assert all(row.bar.x >= 0 and row.bar.x + row.bar.width <= feature_curves.WIDTH for row in drawing.rows)
        assert all(bar.y + bar.height <= drawing.height for bar in drawing.density)
    scales = {tuple(tick.text for tick in drawing.y_ticks) for drawing in drawings if drawing.line}
    assert len(scales) == 1
    for heat in feature_curves.heats(found, model.schema):
        assert max(abs(level) for level, _ in heat.paths) <= feature_curves.LEVELS
