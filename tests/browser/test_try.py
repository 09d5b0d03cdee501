"""``/`` in a real browser: a case as it is typed, with scripts and without, and while models and services come and go."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Troubles
from tests.conftest import Made
from tests.integration.system import System, running

MOST_BYTES = 200_000  # that the page may load in all, uncompressed
PROBABILITY = re.compile(r"[\d.]+\u202f%")


@pytest.fixture
def page(open_page: Open, address: str) -> Page:
    return open_page(address)


def probability(page: Page) -> str:
    return page.locator("#probability").inner_text()


def field(page: Page, label: str) -> Locator:
    return page.locator("#fields").get_by_label(label)


def shown(page: Page) -> str:
    """The probability in the answer to the record in the page's JSON, as the page writes it."""
    chance = page.evaluate(
        """async () => {
            const body = document.getElementById("code-json").textContent;
            const sent = {method: "POST", body, headers: {"Content-Type": "application/json"}};
            return (await (await fetch("predict", sent)).json()).predict_proba[1];
        }"""
    )
    return f"{100 * chance:.{2 if chance < 0.1 else 1}f}\u202f%"


def test_a_case_is_answered_as_it_is_typed(page: Page) -> None:
    """The probability, the curve and the code follow the keys; it is what /predict says of the same record."""
    before = probability(page)
    expect(page.locator("#whatif h2")).to_have_text("What if: Interest rate")
    field(page, "Interest rate").fill("0.25")
    expect(page.locator("#probability")).not_to_have_text(before)
    expect(page.locator("#whatif .here-value")).to_have_text("0.25")
    expect(page.locator("#code-json")).to_contain_text('"int_rate": 0.25')
    expect(page.locator("#said")).to_contain_text(probability(page))
    assert probability(page) == shown(page)
    field(page, "Home ownership").select_option("RENT")
    expect(page.locator("#whatif h2")).to_have_text("What if: Home ownership")
    expect(page.locator("#whatif [aria-pressed=true]")).to_have_text("RENT")
    assert probability(page) == shown(page)
    page.get_by_text("Python", exact=True).click()
    expect(page.locator("#code-python")).to_be_visible()
    expect(page.locator("#code-python")).to_contain_text('"home_ownership": "RENT"')


def test_an_example_is_one_click_away(page: Page) -> None:
    """It fills the form and is answered; what was chosen is marked."""
    page.get_by_role("link", name="High").click()
    expect(page.locator("#verdict .band")).to_have_text("high")
    expect(field(page, "Grade")).to_have_value("D")
    expect(page.locator("#reasons li").first).to_contain_text("The amount you asked for is high")
    expect(page.get_by_role("link", name="High")).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("link", name="High")).to_be_focused()
    assert page.url.endswith("/")


def test_the_curve_is_dragged_and_chosen(page: Page) -> None:
    """A term's name shows its curve; dragging on it types into the input; a bar chooses its category."""
    page.get_by_role("button", name="Loan amount").click()
    expect(page.locator("#whatif h2")).to_have_text("What if: Loan amount")
    curve = page.locator(".curve")
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    expect(page.locator(".ghost text")).to_have_text(re.compile(r"^12,\d00: [\d.]+\u202f%$"))
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 60, steps=4)
    expect(page.locator("#whatif .here-value")).to_have_text(re.compile("36,"))
    page.mouse.up()
    expect(field(page, "Loan amount")).to_have_value(re.compile("^36"))
    expect(page.locator("#code-json")).to_contain_text('"loan_amnt": 36')
    page.get_by_role("button", name="Grade").click()
    page.locator("#whatif").get_by_role("button", name="E", exact=True).click()
    expect(field(page, "Grade")).to_have_value("E")
    expect(page.locator("#whatif [aria-pressed=true]")).to_have_text("E")
    expect(page.locator("#whatif [aria-pressed=true]")).to_be_focused()


def test_what_does_not_fit_is_said_beside_its_input(page: Page, troubles: Troubles) -> None:
    """Marked and described for a screen reader; the page stays accessible, and the next good value brings an answer."""
    troubles.expected = ("422",)
    rate = field(page, "Interest rate")
    rate.fill("13")
    expect(rate).to_have_attribute("aria-invalid", "true")
    note = page.locator(f"#{rate.get_attribute('aria-describedby')}")
    expect(note).to_have_text("must be at most 1 fraction per year")
    expect(page.locator("#verdict")).to_contain_text("1 input needs your attention")
    expect(page.locator("#said")).to_have_text("1 input needs your attention")
    found = Axe().run(page, {"exclude": [".stale"]})
    assert found.violations_count == 0, found.generate_report()
    field(page, "Annual income").fill("")
    expect(page.locator("#verdict")).to_contain_text("2 inputs need your attention")
    rate.fill("0.5")
    field(page, "Annual income").fill("50000")
    expect(note).to_have_text(re.compile("outside the range seen in training"))
    expect(rate).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#probability")).to_have_text(PROBABILITY)


def test_it_works_without_scripts(open_page: Open, address: str, troubles: Troubles) -> None:
    """The form is sent and the server renders the same page: examples, answer, curve and errors."""
    troubles.expected = ("422",)
    page = open_page(address, java_script_enabled=False)
    page.get_by_role("link", name="High").click()
    high = probability(page)
    field(page, "Interest rate").fill("0.06")
    page.get_by_role("button", name="Score this case").click()
    assert float(probability(page).split("\u202f")[0]) < float(high.split("\u202f")[0])
    expect(field(page, "Grade")).to_have_value("D")
    page.get_by_role("button", name="Loan amount").click()
    expect(page.locator("#whatif h2")).to_have_text("What if: Loan amount")
    expect(field(page, "Interest rate")).to_have_value("0.06")
    field(page, "Interest rate").fill("6")
    page.get_by_role("button", name="Score this case").click()
    expect(page.locator("#verdict")).to_contain_text("must be at most 1 fraction per year")


def test_a_swap_while_the_page_is_open(pair: System, open_page: Open, bundles: list[Made]) -> None:
    """It notices by itself, says so, keeps what was typed, and answers with the new model."""
    page = open_page(f"http://127.0.0.1:{pair.port}")
    field(page, "Loan amount").fill("31000")
    expect(page.locator("#code-json")).to_contain_text("31000")
    before = probability(page)
    pair.pin(bundles[1].path.name, bundles[1].sha256)
    expect(page.locator("#notice")).to_contain_text("The model was replaced")
    expect(page.locator("#version")).to_have_text(bundles[1].sha256[:12])
    expect(page.locator(".brand")).to_have_text("The second")
    expect(page.locator("#probability")).not_to_have_text(before)
    expect(field(page, "Loan amount")).to_have_value("31000")
    expect(page.locator(".stale")).to_have_count(0)
    assert probability(page) == shown(page)
    field(page, "Interest rate").fill("0.29")
    expect(page.locator("#code-json")).to_contain_text("0.29")
    assert probability(page) == shown(page)


def test_the_api_goes_away_and_comes_back(pair: System, open_page: Open, troubles: Troubles) -> None:
    """What is shown is marked as old and typing goes on; when the API is back the page says so and has caught up."""
    troubles.expected = (
        "ERR_CONNECTION_REFUSED",
        "ERR_CONNECTION_RESET",
        "ERR_EMPTY_RESPONSE",
        "ERR_INCOMPLETE",
        "503",
    )
    page = open_page(f"http://127.0.0.1:{pair.port}")
    pair.stop_predict()
    expect(page.locator("#notice")).to_contain_text("does not answer")
    expect(page.locator("#verdict")).to_have_class(re.compile("stale"))
    field(page, "Loan amount").fill("39000")
    pair.start_predict()
    expect(page.locator("#notice")).to_contain_text("answers again")
    expect(page.locator("#code-json")).to_contain_text("39000")
    expect(page.locator("#verdict")).not_to_have_class(re.compile("stale"))
    assert probability(page) == shown(page)


@pytest.mark.slow
def test_with_keys_the_page_takes_one(open_page: Open, tmp_path: Path, troubles: Troubles, bundles: list[Made]) -> None:
    """It is kept for the tab, in no cookie, and the answer follows it."""
    troubles.expected = ("401",)
    (tmp_path / "keys").write_text(f"desk {hashlib.sha256(b'sesame').hexdigest()}\n", "utf-8")
    with running(tmp_path, API_KEYS_FILE=str(tmp_path / "keys")) as system:
        (system.models / bundles[0].path.name).write_bytes(bundles[0].path.read_bytes())
        system.pin(bundles[0].path.name, bundles[0].sha256)
        system.start_model()
        system.start_predict()
        page = open_page(f"http://127.0.0.1:{system.port}")
        field(page, "Loan amount").fill("20000")
        expect(page.locator("#verdict h2")).to_have_text("An API key is needed")
        page.get_by_label("API key").fill("sesame")
        field(page, "Loan amount").focus()
        expect(page.locator("#code-json")).to_contain_text("20000")
        page.reload()
        expect(page.get_by_label("API key")).to_have_value("sesame")
        field(page, "Loan amount").fill("21000")
        expect(page.locator("#code-json")).to_contain_text("21000")
        assert page.context.cookies() == []
        page.close()
        assert any(line.get("key") == "desk" for line in system.log("request"))


def test_little_is_loaded_and_nothing_moves(open_page: Open, address: str) -> None:
    """At most 200 KB uncompressed, and no layout shift while it loads."""
    page = open_page("about:blank", viewport={"width": 1280, "height": 900})
    page.add_init_script(
        """window.moved = [];
        new PerformanceObserver((list) => window.moved.push(...list.getEntries().map((e) => e.value)))
            .observe({type: "layout-shift", buffered: true});"""
    )
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())))
    page.goto(address)
    expect(page.locator(".copy").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert len(sizes) >= 5
    assert sum(sizes) < MOST_BYTES
    assert sum(page.evaluate("window.moved")) < 0.01


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_the_high_example_fits(open_page: Open, address: str, width: int) -> None:
    """Whatever the width, nothing is wider than the window, and axe-core finds nothing."""
    page = open_page(f"{address}/?example=high", viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert Axe().run(page).violations_count == 0
