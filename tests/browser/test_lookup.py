"""``/predictions``: as somebody who answers for the model uses it, with a key and without."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from late_payers import simulation
from late_payers.features import COLUMNS
from tests.browser.conftest import Open, Troubles, shipped_system
from tests.integration.system import System, ask, until

KEY = "an-auditors-key"
EVIL = "</td><img src=x onerror=alert(1)><script>1</script>"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """With keys, and six predictions in the log, of which one has names that are markup."""
    root = tmp_path_factory.mktemp("keyed")
    lines = [
        f"{name} {hashlib.sha256(key.encode()).hexdigest()} {role}\n"
        for name, key, role in (("desk", "desk", "predict,outcomes"), ("auditor", KEY, "audit"))
    ]
    (root / "keys").write_text("".join(lines), "utf-8")
    book = simulation.simulate(6, seed=8)[list(COLUMNS)]
    records = [{**record, "id": f"loan-{n}"} for n, record in enumerate(json.loads(book.to_json(orient="records")))]
    records[5] |= {"id": EVIL, "purpose": EVIL}
    with shipped_system(root, API_KEYS_FILE=str(root / "keys")) as started:
        desk = {"X-API-Key": "desk"}
        assert started.post(records, **desk)[0] == 200
        until(lambda: len(found(started)) == 6, 30, "the predictions are in the database")
        assert started.post({"id": "loan-0", "is_late": True}, "/outcomes", **desk)[0] == 200
        yield started


def found(system: System) -> list[str]:
    """The callers' ids in the log."""
    status, _, raw = ask(system.port, "GET", "/predictions.json", headers={"X-API-Key": KEY})
    assert status == 200
    return [row["record_id"] for row in json.loads(raw)["predictions"]]


@pytest.fixture
def look_up(open_page: Open, system: System, troubles: Troubles) -> Page:
    """The list of predictions, after the key was typed into the page that says that there is nothing."""
    troubles.expected = ("404 (NOT FOUND)", "422 (UNPROCESSABLE")
    page = open_page(f"http://127.0.0.1:{system.port}/predictions")
    expect(page.locator("h1")).to_have_text("There is nothing at this address")
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    expect(page.locator("h1")).to_have_text("Look up predictions")
    return page


def test_a_prediction_is_found_read_and_computed_again(look_up: Page, system: System) -> None:
    """By the caller's id, from the keyboard; then its model's card, back, and the same after the page is loaded again."""
    page = look_up
    page.fill("#s-id", "loan-0")
    page.press("#s-id", "Enter")
    expect(page.locator("#found-title")).to_have_text("1 prediction")
    assert page.url.endswith("/predictions?id=loan-0")
    page.locator("table.rows a").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#again-title + .alert")).to_contain_text("bit for bit")
    expect(page.locator(".why .term")).to_have_count(len(COLUMNS) + 2)
    expect(page.locator("main")).to_contain_text("is_late: true")
    own = page.url
    assert re.fullmatch(r".*/predictions/[0-9a-f]{32}", own)
    page.get_by_role("link", name="The card of the model").click()
    expect(page.get_by_role("heading", name="What it must not be used for")).to_be_visible()
    page.go_back()
    expect(page.locator("#again-title")).to_be_visible()
    page.reload()
    expect(page.locator("#again-title")).to_be_visible()
    expect(page.get_by_role("link", name="Look up", exact=True)).to_be_visible()
    page.get_by_role("link", name="The model", exact=True).click()
    page.get_by_role("link", name="Look up", exact=True).click()
    expect(page.locator("#found-title")).to_have_text("6 predictions")
    log = (system.root / "services.log").read_text("utf-8")
    assert KEY not in log
    assert own.rpartition("/")[2] not in log
    assert KEY not in page.content()


def test_another_key_opens_nothing(open_page: Open, system: System, troubles: Troubles) -> None:
    """It is said, and the page stays."""
    troubles.expected = ("404 (NOT FOUND)",)
    page = open_page(f"http://127.0.0.1:{system.port}/predictions")
    page.fill("#key", "desk")
    page.press("#key", "Enter")
    expect(page.locator("#notice")).to_have_text("This key does not open this address.")
    expect(page.locator("h1")).to_have_text("There is nothing at this address")
    page.goto(f"http://127.0.0.1:{system.port}/")
    expect(page.get_by_role("link", name="Look up", exact=True)).to_have_count(0)


def test_what_is_wrong_is_said_next_to_its_input(look_up: Page) -> None:
    """And what was typed stays."""
    look_up.fill("#s-from", "yesterday")
    look_up.press("#s-from", "Enter")
    expect(look_up.locator("#n-from")).to_contain_text("must be a time such as")
    expect(look_up.locator("#s-from")).to_have_value("yesterday")


def test_the_json_is_saved(look_up: Page) -> None:
    """With the key, as a file."""
    with look_up.expect_download() as waited:
        look_up.get_by_role("link", name="As JSON").click()
    content = json.loads(waited.value.path().read_text("utf-8"))
    assert len(content["predictions"]) == 6


def test_names_that_are_markup_are_text(look_up: Page) -> None:
    """In the list and on the page."""
    expect(look_up.locator("table.rows")).to_contain_text(EVIL)
    look_up.get_by_role("row").filter(has_text="onerror").get_by_role("link").click()
    expect(look_up.locator("#input-title ~ table")).to_contain_text(EVIL)
    assert look_up.locator("img, main script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible_and_fit_a_phone(
    open_page: Open, system: System, troubles: Troubles, scheme: str
) -> None:
    """axe finds nothing, and nothing is wider than a screen of 360 pixels."""
    troubles.expected = ("404 (NOT FOUND)",)
    page = open_page(
        f"http://127.0.0.1:{system.port}/predictions", color_scheme=scheme, viewport={"width": 360, "height": 740}
    )

    def check() -> None:
        report = Axe().run(page)
        assert report.violations_count == 0, report.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

    check()
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    expect(page.locator("#found-title")).to_be_visible()
    check()
    page.locator("table.rows a").first.click()
    expect(page.locator("#again-title")).to_be_visible()
    check()
    page.get_by_role("link", name="The card of the model").click()
    expect(page.locator("#identity-title")).to_be_visible()
    check()


def test_on_paper_is_the_record_and_nothing_to_press(look_up: Page) -> None:
    """The browser's print makes a PDF of it."""
    look_up.locator("table.rows a").first.click()
    expect(look_up.locator("#again-title")).to_be_visible()
    look_up.emulate_media(media="print")
    for hidden in (".top", ".bottom", ".no-print"):
        for each in look_up.locator(hidden).all():
            expect(each).to_be_hidden()
    for shown in ("#answer-title", "#again-title", "#why-title", "#input-title", "#record-title"):
        expect(look_up.locator(shown)).to_be_visible()
    assert look_up.pdf().startswith(b"%PDF")


def test_without_keys_and_without_scripts_it_is_links_and_a_form(open_page: Open, address: str) -> None:
    """Where everybody on this machine may look."""
    page = open_page(address, java_script_enabled=False)
    page.get_by_role("link", name="Look up", exact=True).click()
    page.fill("#s-id", "nobody")
    page.click("text=Search")
    expect(page.locator("#found-title")).to_have_text("Nothing was found")
