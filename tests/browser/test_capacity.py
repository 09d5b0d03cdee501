"""The calculator of ``docs/capacity.md``, in the page that MkDocs builds: its formulae, and that anybody can use it."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from playwright.sync_api import Page, expect

from benchmarks.capacity import page as figures_page
from tests.browser.conftest import Open, Troubles
from tests.integration.system import ROOT

RESULTS = json.loads((ROOT / figures_page.RESULTS).read_text("utf-8"))
PORTFOLIO = json.loads((ROOT / figures_page.PORTFOLIO).read_text("utf-8"))
FIGURES = figures_page.figures(RESULTS, PORTFOLIO, 10)
MARGINS = (0.4, 0.25)  # of the page: of another run on another day, and of the same run
NOTHING = {
    "single": 0,
    "rows": 0,
    "format": "json",
    "utilisation": 100,
    "spare": 0,
    "hours": 24,
    "bytes": 1000,
    "days": 1,
    "bookRows": 0,
    "bookRuns": 1,
    "book": "csv_to_csv",
    "bookCores": 2,
    "corePrice": None,
    "memoryPrice": None,
    "diskPrice": None,
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built page, and of nothing else of the documents: the whole takes ten times as long."""
    root = tmp_path_factory.mktemp("capacity")
    (root / "docs").mkdir()
    for name in ("capacity.md", "capacity.js", "site.css"):
        (root / "docs" / name).write_text((ROOT / "docs" / name).read_text("utf-8"), "utf-8")
    whole = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    own = {"nav": ["capacity.md"], "plugins": [], "strict": False, "validation": {"links": {"not_found": "ignore"}}}
    (root / "mkdocs.yml").write_text(yaml.safe_dump({**whole, **own}), "utf-8")
    build(load_config(str(root / "mkdocs.yml")))
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=root / "site")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/capacity.html"
        server.shutdown()
        thread.join()


@pytest.fixture
def calculator(open_page: Open, site: str) -> Page:
    return open_page(site)


def plan(page: Page, **asked: Any) -> Any:
    """What the page's own function says, with the figures of the results."""
    return page.evaluate("([figures, asked]) => capacity.plan(figures, asked)", [FIGURES, {**NOTHING, **asked}])


def test_the_formula_for_one_loan_predicts_the_measured_rate(calculator: Page) -> None:
    """At the rate of ``make bench``'s best round, the API and its clients take all processors, as those that measured them did.

    The best round is the one that other work disturbed least. In the rounds of ``make capacity``, it is known what other work
    took. There is no proxy in these measurements.
    """
    found = RESULTS["capacity"]
    best, own = max(RESULTS["one_loan"]["ours"]["rates"]), found["one_loan"]
    runs = ((best, found["cores"]), (own["requests_per_second"], found["cores"] - own["others"]))
    for (rate, processors), margin in zip(runs, MARGINS, strict=True):
        busy = plan(calculator, single=rate)["busy"] - rate * FIGURES["proxy_request_ms"] / 1000
        assert busy + rate * own["client_milliseconds"] / 1000 == pytest.approx(processors, rel=margin)


@pytest.mark.parametrize("book", figures_page.BOOKS)
def test_the_formula_for_a_book_gives_the_processor_time_that_was_measured(calculator: Page, book: str) -> None:
    """By ``make score-10m``, shared by its cores, half of it on twice as many; it took no less than that."""
    found, rows, cores = PORTFOLIO["kinds"][book], PORTFOLIO["rows"], PORTFOLIO["cores"]
    asked = {"bookRows": rows, "book": book, "bookCores": cores}
    hours = plan(calculator, **asked)["bookHours"]
    assert 3600 * hours * cores == pytest.approx(rows * found["processor_microseconds_per_row"]["own"] / 1e6, rel=0.01)
    assert 3600 * hours <= rows / found["rows_per_second"]
    assert plan(calculator, **{**asked, "bookCores": 2 * cores})["bookHours"] == pytest.approx(hours / 2)
    assert plan(calculator, **asked, bookRuns=30)["bookCoreHours"] == pytest.approx(30 * hours * cores)


def test_headroom_is_what_was_asked_for(calculator: Page) -> None:
    """The replicas have it at every load, one fewer would not, and those that may fail come on top."""
    for single in (0, 1, 1500, 20_000, 200_000):
        full = plan(calculator, single=single, rows=10 * single)
        half = plan(calculator, single=single, rows=10 * single, utilisation=50)
        idle = full["replicas"] * FIGURES["replica_idle_cores"] + FIGURES["model_idle_cores"]
        proxy = single * (FIGURES["proxy_request_ms"] + 10 * FIGURES["proxy_row_ms"]) / 1000
        api = full["busy"] - idle - proxy
        assert half["replicas"] * 2 * 0.5 >= api
        assert half["replicas"] == 1 or (half["replicas"] - 1) * 2 * 0.5 < api
        assert plan(calculator, single=single, rows=10 * single, spare=2)["replicas"] == full["replicas"] + 2
        assert half["cores"] >= 2 * half["replicas"] + proxy / 0.5


def test_rows_of_batches_cost_less_and_those_of_arrow_least(calculator: Page) -> None:
    """As measured. All of them are logged."""
    one, json_, arrow = (
        plan(calculator, **asked)["busy"]
        for asked in ({"single": 10_000}, {"rows": 10_000}, {"rows": 10_000, "format": "arrow"})
    )
    assert one > 2 * json_ > 2 * arrow


def test_the_log_and_the_cost_add_up(calculator: Page) -> None:
    """A row a second of a thousand bytes is 86.4 MB a day; a missing price counts nothing; without any there is no cost."""
    found = plan(calculator, rows=1)
    assert found["disk"] == pytest.approx(0.0864)
    assert found["cost"] is None
    assert plan(calculator, rows=1, utilisation=50, days=365, hours=12)["disk"] == pytest.approx(0.0864 * 365)
    cores = plan(calculator, rows=1, corePrice=2)["cost"]
    assert cores == pytest.approx(found["cores"] * 730 * 2)
    priced = plan(calculator, rows=1, corePrice=2, memoryPrice=3, diskPrice=5)["cost"]
    assert priced == pytest.approx(cores + found["memory"] * 730 * 3 + found["disk"] * 5)
    assert plan(calculator, rows=1, corePrice=0)["cost"] == 0


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        ({"rows": 10_000_000}, "SQLite takes no second one"),
        ({"single": 1_000_000}, "make several groups"),
        ({"single": 1000}, "times less processor time"),
        ({"bookRows": 1e13}, "before it is due again"),
        ({"corePrice": 1}, "leaves out what has no price"),
    ],
)
def test_what_a_plan_does_not_say_is_noted(calculator: Page, asked: dict[str, Any], note: str) -> None:
    """Where the figures end, and only there."""
    assert [said for said in plan(calculator, **asked)["notes"] if note in said]
    assert plan(calculator)["notes"] == []


def test_it_is_used_with_the_keyboard_and_without_a_network(calculator: Page, troubles: Troubles) -> None:
    """Fields have labels and follow each other; each change shows at once; a value that cannot be is named with its field."""
    troubles.expected = ("ERR_INTERNET_DISCONNECTED",)  # what the browser itself still asks for, such as an icon
    calculator.context.set_offline(True)
    result = calculator.locator('[data-result="replicas"]')
    first = calculator.get_by_label("Single loans")
    first.focus()
    calculator.keyboard.press("Control+A")
    calculator.keyboard.type("20000")
    expected = plan(calculator, single=20_000, utilisation=60, spare=1)["replicas"]
    expect(result).to_have_text(f"{expected} replicas")
    for label in ("Loans in batches of a thousand", "Batches are sent as", "Plan for a utilisation of"):
        calculator.keyboard.press("Tab")
        expect(calculator.get_by_label(label)).to_be_focused()
    calculator.keyboard.press("Control+A")
    calculator.keyboard.type("0")
    expect(calculator.get_by_role("status")).to_contain_text("Plan for a utilisation of:")
    expect(calculator.get_by_label("Plan for a utilisation of")).to_have_attribute("aria-invalid", "true")
    calculator.keyboard.press("Control+A")
    calculator.keyboard.type("100")
    expect(result).to_be_visible()
    expect(calculator.locator('[data-result="cost"]')).to_have_text("enter a price")
    calculator.get_by_label("A core for an hour").fill("0.05")
    expect(calculator.locator('[data-result="cost"]')).to_have_text(re.compile(r"^[\d,]+ a month$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(open_page: Open, site: str, scheme: str) -> None:
    """Nothing is wider than the screen but tables, which scroll; every field can be read; nothing is asked of another host."""
    page = open_page("about:blank", viewport={"width": 360, "height": 740}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site)
    expect(page.locator('[data-result="cores"]')).to_be_visible()
    assert page.locator("h1").inner_text().startswith("Capacity")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for field in page.locator("#calculator :is(input, select, output)").all():
        box = field.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        colour, ground = field.evaluate("e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]")
        assert colour != ground
    assert [url for url in asked if not url.startswith(site.rpartition("/")[0])] == []
