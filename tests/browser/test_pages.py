"""What holds for every page."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Open

PAGES = ("/", "/batch", "/model-card", "/monitor", "/predictions")
SCHEMES = ("light", "dark")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible(open_page: Open, address: str, path: str, scheme: str) -> None:
    """axe-core finds nothing, in light and in dark."""
    page = open_page(address + path, color_scheme=scheme)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_the_smallest_phone(open_page: Open, address: str, path: str) -> None:
    """Nothing is wider than a screen of 360 pixels."""
    page = open_page(address + path, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_from_elsewhere(open_page: Open, address: str, path: str) -> None:
    """All of it is from this server, and it sets no cookies."""
    page = open_page(address + path)
    loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert loaded
    assert all(name.startswith(address) for name in loaded)
    assert page.context.cookies() == []
