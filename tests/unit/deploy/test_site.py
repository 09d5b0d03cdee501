"""The documents as a site: it builds without a warning, and loads nothing from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.unit.deploy.rendered import ROOT

LOADS = {"src", "srcset", "poster", "data"}
OUTSIDE = re.compile(r"\s*(?:[a-z]+:)?//", re.IGNORECASE)


class Loads(HTMLParser):
    """Collects the addresses that a browser loads by itself, and the classes that make the theme's script load more."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.parts: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LOADS or (name == "href" and tag == "link"):
                self.addresses.append(value or "")
            if name in ("class", "data-md-component"):
                self.parts |= set((value or "").split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Building fails for a page that is not in the navigation, a link, or a heading that does not exist."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    """Scripts, styles, images and fonts are the site's own."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert [address for address in loads.addresses if OUTSIDE.match(address)] == [], page.name
        # The theme's script would load Mermaid from a content delivery network, and ask GitHub about a repository.
        assert loads.parts.isdisjoint({"mermaid", "source"}), page.name


def test_no_style_loads_anything_from_outside(site: Path) -> None:
    """Neither by ``url()`` nor by ``@import``."""
    styles = sorted(site.rglob("*.css"))
    assert styles
    for style in styles:
        text = style.read_text("utf-8")
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:[a-z]+:)?//[^)]*", text) == [], style.name


def test_every_page_begins_with_its_title(site: Path) -> None:
    """The first element of each page is its heading."""
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.read_text("utf-8").startswith("# "), page.name
