"""A real browser on a real system: Debian's Chromium, both services as processes, and the bundle that ships."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from modelbundle.format import archive
from tests.conftest import Made
from tests.integration.system import ROOT, System, running

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHIPPED = ROOT / "models" / "late-payers.bundle"
WAIT = 30_000  # milliseconds until a page that does not do what it should fails its test
expect.set_options(timeout=WAIT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is in this folder needs the browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


# Both end with this folder's tests: while Playwright is there, no other test can run an event loop of its own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all; skips where there is none, unless REQUIRE_BROWSER is set."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(f"REQUIRE_BROWSER is set and there is no {CHROMIUM}")
        pytest.skip(f"there is no {CHROMIUM}; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Both services, answering with the bundle that ships. For tests that leave it as it is."""
    with shipped_system(tmp_path_factory.mktemp("shipped")) as system:
        yield system


@contextlib.contextmanager
def shipped_system(root: Path, **settings: str) -> Iterator[System]:
    """The same, below a folder."""
    with running(root, **settings) as system:
        shutil.copy(SHIPPED, system.models)
        system.pin(SHIPPED.name, archive.digest(SHIPPED.read_bytes()))
        system.start_model()
        system.start_predict()
        yield system


class Troubles(list[str]):
    """What the pages of a test complained of: errors on the console, violations of the policy, uncaught exceptions.

    ``expected`` are parts of complaints that the test provokes on purpose.
    """

    expected: tuple[str, ...] = ()

    def follow(self, page: Page) -> None:
        """Listen to a page."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.append(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.append(message.text)

    def unexpected(self) -> list[str]:
        """Those that no test provoked."""
        return [said for said in self if not any(part in said for part in self.expected)]


@pytest.fixture
def troubles() -> Iterator[Troubles]:
    """Fails the test at its end if a page complained."""
    found = Troubles()
    yield found
    assert found.unexpected() == []


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, troubles: Troubles) -> Iterator[Open]:
    """``open_page(url, **options)``: a page in a context of its own; the options are Playwright's ``new_context``'s."""
    contexts: list[BrowserContext] = []

    def open_(url: str, **options: object) -> Page:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        troubles.follow(page)
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def address(shipped: System) -> str:
    """Of the shipped system, without a slash at the end."""
    return f"http://127.0.0.1:{shipped.port}"


@pytest.fixture
def pair(tmp_path: Path, bundles: list[Made]) -> Iterator[System]:
    """A system of its own, on the first of two small models of one schema, which can be swapped."""
    with running(tmp_path) as system:
        for made in bundles:
            (system.models / made.path.name).write_bytes(made.path.read_bytes())
        system.pin(bundles[0].path.name, bundles[0].sha256)
        system.start_model()
        system.start_predict()
        yield system
