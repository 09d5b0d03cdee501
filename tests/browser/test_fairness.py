"""Figures by group: as the page of ``make fairness`` and on the model's card, on real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from fairness import example
from fairness.__main__ import main
from modelbundle.format import archive
from tests.browser.conftest import SHIPPED, Open
from tests.integration.system import running

EVIL = "<img src=x onerror=alert(1)>"
PAGES = ("file", "card")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The page of simulated loans of which some are in a group with an evil name, and the card of the model that got them."""
    folder = tmp_path_factory.mktemp("fairness")
    book, groups = example.write(folder, 6000)
    groups.write_text(groups.read_text("utf-8").replace("north", EVIL), "utf-8")
    asked = ["--in", str(book), "--reference", "south", "--refuse", "high", "--model", str(SHIPPED)]
    assert main(["measure", str(groups), *asked, "--out", str(folder / "page.html")]) == 0
    with running(folder / "system") as system:
        path = system.models / "carded.bundle"
        assert main(["card", str(folder / "page.json"), str(path), "--model", str(SHIPPED)]) == 0
        system.pin(path.name, archive.digest(path.read_bytes()))
        system.start_model()
        system.start_predict()
        yield {"file": Path(folder, "page.html").as_uri(), "card": f"http://127.0.0.1:{system.port}/model-card"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_it_is_accessible_and_what_is_in_names_is_text(
    open_page: Open, addresses: dict[str, str], name: str, scheme: str
) -> None:
    """axe-core finds nothing; the evil group has a row in both tables and does nothing."""
    page = open_page(addresses[name], color_scheme=scheme)
    rows = page.locator("th[scope=row]").filter(has_text=EVIL)
    expect(rows).to_have_count(2)
    assert page.locator("img[src=x]").count() == 0
    expect(page.get_by_role("row", name="south").first).to_contain_text("%")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", PAGES)
def test_it_fits_the_smallest_phone(open_page: Open, addresses: dict[str, str], name: str) -> None:
    """The tables are scrolled within the page, also by keyboard."""
    page = open_page(addresses[name], viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    table = page.get_by_role("group", name="What happened")
    assert table.evaluate("own => own.scrollWidth > own.clientWidth && own.tabIndex === 0")


def test_the_card_leads_to_it(open_page: Open, addresses: dict[str, str]) -> None:
    page = open_page(addresses["card"])
    page.get_by_role("link", name="By group").click()
    expect(page.get_by_role("heading", name="By group: region")).to_be_in_viewport()
