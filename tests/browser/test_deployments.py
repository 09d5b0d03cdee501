"""``/deployments``: as somebody who answers for the model uses it, with a key and without."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from modelbundle.format import archive
from services.predictionlog import event
from tests.browser.conftest import SHIPPED, Open, Troubles, shipped_system
from tests.conftest import Made
from tests.integration.system import System, ask, until

KEY = "an-auditors-key"
EVIL = "</dd></li><img src=x onerror=alert(1)><script>1</script>"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, bundles: list[Made]) -> Iterator[System]:
    """With keys; the model was replaced, and one with a name that is markup was refused."""
    root = tmp_path_factory.mktemp("deployed")
    (root / "keys").write_text(f"auditor {hashlib.sha256(KEY.encode()).hexdigest()} audit\n", "utf-8")
    with shipped_system(root, API_KEYS_FILE=str(root / "keys")) as started:
        first, second = archive.digest(SHIPPED.read_bytes()), bundles[0].sha256
        shutil.copy(bundles[0].path, started.models / "second.bundle")
        plain = {"user": "ann", "target": "compose", "action": "deploy", "result": "accepted", "why": "the first"}
        spool = root / "data" / "spool"
        event.append(spool, event.DEPLOYMENT, {**plain, "file": SHIPPED.name, "sha256": first})
        started.pin("second.bundle", second, allow=["contract", "scores", "probation"])
        until(lambda: started.readyz()[1]["model_version"] == second, 30, "the second model answers")
        event.append(spool, event.DEPLOYMENT, {**plain, "file": "second.bundle", "sha256": second, "why": EVIL})
        seen = {"requests": 34, "failures": {EVIL: 1}}
        refusal = {"model_version": "c" * 64, "why": "probation", "reason": EVIL, "evidence": seen}
        event.append(spool, event.REFUSAL, refusal)
        until(lambda: len(found(started)) == 5, 30, "the events are in the database")
        yield started


def found(system: System) -> list[str]:
    status, _, raw = ask(system.port, "GET", "/deployments.json", headers={"X-API-Key": KEY})
    assert status == 200
    return [one["kind"] for one in json.loads(raw)["events"]]


@pytest.fixture
def history(open_page: Open, system: System, troubles: Troubles) -> Page:
    """The page, after the key was typed into the one that says that there is nothing."""
    troubles.expected = ("404 (NOT FOUND)",)
    return opened(open_page(f"http://127.0.0.1:{system.port}/deployments"))


def opened(page: Page) -> Page:
    expect(page.locator("h1")).to_have_text("There is nothing at this address")
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    expect(page.locator("h1")).to_have_text("Deployments")
    return page


def test_who_when_why_and_what_was_refused(history: Page) -> None:
    """The newest first; the rest of what was found is opened by keyboard. Texts of others are text."""
    events = history.locator(".history > li")
    expect(events).to_have_count(5)
    refusal = events.filter(has_text="Refused: probation")
    expect(refusal).to_contain_text("34 requests on probation")
    expect(refusal.locator("pre")).to_be_hidden()
    refusal.locator("summary").focus()
    history.keyboard.press("Enter")
    expect(refusal.locator("pre")).to_contain_text('"requests": 34')
    expect(events.filter(has_text="Whoann")).to_have_count(2)
    expect(events.filter(has_text=EVIL)).to_have_count(2)
    assert history.locator("img, main script").count() == 0
    history.get_by_role("link", name="refusal", exact=True).click()
    expect(events).to_have_count(1)
    history.go_back()
    expect(events).to_have_count(5)
    history.get_by_role("link", name="Look up", exact=True).click()
    expect(history.locator("h1")).to_have_text("Look up predictions")
    history.get_by_role("link", name="Deployments", exact=True).click()
    expect(history.locator("h1")).to_have_text("Deployments")


def test_the_command_to_go_back_is_copied(history: Page, system: System) -> None:
    """As it stands there; nothing is changed by it."""
    version = archive.digest(SHIPPED.read_bytes())
    way = history.get_by_role("region", name="The way back")
    expect(way).to_contain_text(f"goes back to {SHIPPED.name}, SHA-256")
    expect(way.locator("pre")).to_have_text(
        ["make rollback", f"MODEL_FILE_NAME={SHIPPED.name}\nMODEL_SHA256={version}", "docker-compose up -d model"]
    )
    history.context.grant_permissions(["clipboard-read", "clipboard-write"])
    before = system.readyz()[1]["generation"]
    way.get_by_role("button").nth(1).click()
    expect(history.locator("#notice")).to_have_text("Copied.")
    assert (
        history.evaluate("navigator.clipboard.readText()") == f"MODEL_FILE_NAME={SHIPPED.name}\nMODEL_SHA256={version}"
    )
    assert system.readyz()[1]["generation"] == before


def test_two_models_side_by_side(history: Page) -> None:
    """Chosen from those that are kept; what differs is said in words."""
    history.get_by_role("button", name="Side by side").click()
    expect(history.locator("h1")).to_have_text("Two models side by side")
    features = history.get_by_role("region", name="Features")
    expect(features.get_by_role("row").filter(has_text="removed").first).to_be_visible()
    expect(features.get_by_role("row").filter(has_text="added").first).to_be_visible()
    expect(history.get_by_role("region", name="On the same rows")).to_contain_text(
        "make compare BUNDLE=models/second.bundle WITH=models/late-payers.bundle"
    )
    history.get_by_role("link", name="Deployments").last.click()
    expect(history.locator("h1")).to_have_text("Deployments")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_are_accessible_and_fit_a_phone(open_page: Open, system: System, troubles: Troubles, scheme: str) -> None:
    """axe finds nothing, and nothing is wider than a screen of 360 pixels."""
    troubles.expected = ("404 (NOT FOUND)",)
    size = {"width": 360, "height": 740}
    page = opened(open_page(f"http://127.0.0.1:{system.port}/deployments", color_scheme=scheme, viewport=size))
    page.locator("summary").first.click()
    for title in ("Deployments", "Two models side by side"):
        expect(page.locator("h1")).to_have_text(title)
        report = Axe().run(page)
        assert report.violations_count == 0, report.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        if title == "Deployments":
            page.get_by_role("button", name="Side by side").click()


def test_on_paper_is_the_record_and_nothing_to_press(history: Page) -> None:
    history.emulate_media(media="print")
    for hidden in (".top", ".bottom", ".no-print", "button"):
        for each in history.locator(hidden).all():
            expect(each).to_be_hidden()
    for shown in ("#now-title", "#back-title", "#history-title"):
        expect(history.locator(shown)).to_be_visible()
    assert history.pdf().startswith(b"%PDF")


def test_without_keys_and_without_scripts_it_is_links_and_a_form(open_page: Open, address: str) -> None:
    """Where everybody on this machine may look."""
    page = open_page(address, java_script_enabled=False)
    page.get_by_role("link", name="Deployments", exact=True).click()
    events = page.locator(".history > li")
    until(lambda: page.reload() and events.count(), 30, "the switch is in the database")
    expect(events.first).to_contain_text("answers")
    expect(page.get_by_role("button", name="Print")).to_have_count(0)
    expect(page.locator("[data-copy]")).to_have_count(0)
