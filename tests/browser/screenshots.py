"""``python -m tests.browser.screenshots``: pictures of the pages for the documents, into docs/screenshots/.

Each page is taken in light and dark, on a desktop as far as it is worth showing, and on a phone as it shows at first; from real
services, on the bundle that ships. What is uploaded is the simulated stand-in for the book of loans.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from late_payers import simulation
from late_payers.features import COLUMNS
from tests.browser.conftest import CHROMIUM, FLAGS, shipped_system
from tests.integration.system import ROOT

FOLDER = ROOT / "docs" / "screenshots"
SCREENS = {"desktop": (1280, 800, 1), "phone": (390, 844, 2)}
TALLEST = 1900  # pixels that are shown of a long page
COLOURS = 96  # more make the files larger and no better
ROWS = 2000
Prepare = Callable[[Page], None]


def nothing(page: Page) -> None:
    """The page as it comes."""
    expect(page.locator("h1")).to_be_visible()


def scored(page: Page) -> None:
    """A book that was scored."""
    book = simulation.simulate(ROWS, seed=8)[list(COLUMNS)].to_csv(index=False).encode()
    page.set_input_files("#file", FilePayload(name="book.csv", mimeType="text/csv", buffer=book))
    page.click("#go")
    expect(page.locator("#save")).to_be_visible()


def watched(page: Page) -> None:
    """The watch once it has seen the books of the pictures before."""
    expect(page.locator("#watch svg").first).to_be_visible(timeout=60_000)


def found(page: Page) -> None:
    """A prediction of the books of the pictures before, of the band with the highest rates."""
    page.fill("#s-band", "high")
    page.press("#s-band", "Enter")
    page.locator("table.rows a").first.click()
    expect(page.locator("#again-title")).to_be_visible()


SHOTS: dict[str, tuple[str, Prepare]] = {
    "try": ("/?example=high", nothing),
    "book": ("/batch", scored),
    "model": ("/model-card", nothing),
    "watch": ("/monitor", watched),
    "lookup": ("/predictions", found),
}


def main() -> None:
    """Take all of them."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as root,
        shipped_system(Path(root), MONITOR_SECONDS="2") as system,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, (path, prepare) in SHOTS.items():
            for screen in SCREENS:
                for scheme in ("light", "dark"):
                    image = take(browser, f"http://127.0.0.1:{system.port}{path}", prepare, screen, scheme)
                    target = FOLDER / f"{name}-{screen}-{scheme}.png"
                    target.write_bytes(small(image))
                    print(f"{target.relative_to(ROOT)}  {target.stat().st_size // 1024} KB")
        browser.close()


def take(browser: Browser, url: str, prepare: Prepare, screen: str, scheme: str) -> bytes:
    """One picture, as PNG."""
    width, height, scale = SCREENS[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    prepare(page)
    tall = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST) if screen == "desktop" else height
    image = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": tall})
    context.close()
    return image


def small(image: bytes) -> bytes:
    """The same picture with a palette."""
    out = io.BytesIO()
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
