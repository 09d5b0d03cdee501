"""``/monitor``: what the monitor wrote, for somebody who has never seen its figures; it keeps itself up to date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import summaries
from tests.browser.conftest import Open, Troubles

Show = Callable[..., Page]


@pytest.fixture
def show(open_page: Open, address: str) -> Show:
    """A page that watches, on a summary; the summary may be changed while it is open."""

    def shown(summary: dict[str, Any], **options: object) -> Page:
        page = open_page(f"{address}/readyz", **options)
        page.clock.install()
        page.route("**/monitor.json", lambda route: route.fulfill(json=summary))
        page.goto(f"{address}/monitor")
        expect(page.locator("#verdict .status")).to_be_visible()
        return page

    return shown


def test_a_week_can_be_read_by_anybody(show: Show) -> None:
    """The verdict, what drifted and what that does, what happened, and whether it was right, in words."""
    page = show(summaries.full())
    expect(page.locator("#verdict")).to_contain_text("Not as in training: Annual income.")
    watch = page.locator("#watch")
    expect(watch).to_contain_text("This alone moves the expected rate (late next quarter) from 2.1 % to 2.6 %.")
    expect(watch).to_contain_text(
        "Purpose has values that training never saw, such as a text of 7 characters in 250 rows"
    )
    expect(watch).to_contain_text("2.6 %the mean probability; 2.2 % in training")
    expect(watch).to_contain_text("The ROC-AUC is 0.712 (0.671 to 0.753)")
    expect(watch).to_contain_text("answers, and is confirmed")
    expect(watch).to_contain_text("Switched from 06f1002c2907 to b7c2f9d01e44")
    assert page.locator(".features > li:visible").count() == 2
    page.get_by_text("3 other features as in training").click()
    assert page.locator(".features > li:visible").count() == 5
    page.get_by_text("What these words mean").click()
    expect(page.get_by_text("Population stability index")).to_be_visible()


def test_swaps_stand_on_the_time_line(show: Show) -> None:
    """Where one happened, the bars change their colour; the range can be chosen."""
    page = show(summaries.full(datetime.now(UTC)))
    chart = page.locator("figure", has_text="Rows scored")
    expect(chart.locator(".event title")).to_contain_text("Switched from 06f1002c2907 to b7c2f9d01e44")
    assert chart.locator("rect.before").count() > 10
    assert chart.locator("rect.current").count() > 10
    page.get_by_role("button", name="3 hours").click()
    expect(page.get_by_role("button", name="3 hours")).to_be_focused()
    expect(page.get_by_role("button", name="3 hours")).to_have_attribute("aria-pressed", "true")
    expect(chart.locator(".event")).to_have_count(0)


def test_before_anything_is_known_it_says_what_will_be(show: Show) -> None:
    """Every part has words for having nothing yet, and what to do about it."""
    page = show(summaries.empty(datetime.now(UTC)))
    watch = page.locator("#watch")
    expect(watch).to_contain_text("Nothing was scored in this time.")
    expect(watch).to_contain_text("From 500 rows on, each feature is compared")
    expect(watch).to_contain_text("Send outcomes with POST /outcomes")
    expect(watch).to_contain_text("No challenger.")
    expect(watch).to_contain_text("No request was measured in the last 24 hours.")
    expect(page.locator("#age")).to_be_empty()


def test_it_keeps_itself_up_to_date(show: Show) -> None:
    """What is new appears without a hand; what was open stays open."""
    summary = summaries.full()
    page = show(summary)
    page.get_by_text("What these words mean").click()
    summary["verdict"] = {"status": "stable", "text": "The rows look like those of training."}
    page.clock.run_for(11_000)
    expect(page.locator("#verdict .status.stable")).to_be_visible()
    expect(page.get_by_text("Population stability index")).to_be_visible()
    page.clock.run_for(5_000)
    expect(page.locator("#age")).to_contain_text("s ago, and every 60 s")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"logging": False}, "Nothing is logged here"),
        (
            {"trouble": "the prediction log's database is away"},
            "The monitor reports: the prediction log's database is away.",
        ),
        ({"stale": True}, "what is shown is old"),
    ],
)
def test_what_is_wrong_with_the_monitor_itself_is_said(show: Show, change: dict[str, Any], says: str) -> None:
    """First of all, so that nobody takes old figures for new ones."""
    expect(show({**summaries.full(), **change}).locator("#verdict .alert")).to_contain_text(says)


def test_a_replica_that_does_not_answer_says_why(show: Show) -> None:
    """With what is wanted, and what was refused."""
    summary = summaries.empty(datetime.now(UTC))
    summary["replica"] |= {
        "ready": False,
        "confirmed": False,
        "model_version": None,
        "why_not": "no model was brought in",
    }
    watch = show(summary).locator("#watch")
    expect(watch).to_contain_text("does not answer")
    expect(watch).to_contain_text("no model was brought in")
    expect(watch).to_contain_text("a golden row's score differs")


def test_words_that_came_with_a_model_are_text(show: Show, troubles: Troubles) -> None:
    """A category, a title or a reason cannot become markup."""
    evil = "<img src=x onerror=alert(1)>"
    summary = summaries.full()
    model = summary["models"][0]
    model["positive"] = model["text"] = summary["verdict"]["text"] = evil
    model["features"][0] |= {"title": evil, "text": evil}
    summary["events"][0]["text"] = evil
    page = show(summary)
    expect(page.locator("#verdict")).to_contain_text(evil)
    assert page.locator("#watch img, #verdict img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_full_page_is_accessible(show: Show, scheme: str) -> None:
    """axe-core finds nothing with everything on it, and everything opened."""
    page = show(summaries.full(), color_scheme=scheme)
    for summary in page.locator("summary").all():
        summary.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_full_page_fits_the_smallest_phone(show: Show) -> None:
    """Nothing is wider than a screen of 360 pixels."""
    page = show(summaries.full(), viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_evidence_is_drawn_with_the_line_that_is_asked_for(show: Show) -> None:
    """Over the outcomes as they became known, with a sentence, and with words for those who do not see it."""
    summary = summaries.full()
    page = show(summary)
    facts = summary["models"][0]["challengers"][0]["evidence"]
    chart = page.locator("figure.evidence")
    expect(chart).to_have_count(1)
    expect(chart.locator("svg")).to_have_attribute("aria-label", "Evidence after each of 800 outcomes")
    expect(chart.locator(".level-name")).to_have_text("enough: 20")
    expect(page.locator("#watch")).to_contain_text(facts["text"])
    line = chart.locator("path.line.current").get_attribute("d") or ""
    heights = [float(point.split(" ")[1]) for point in line[1:].replace("M", "L").split("L")]
    level = float(chart.locator("line.level").get_attribute("y1") or "nan")
    path = [point["challenger"] for point in facts["path"]]
    assert [height < level for height in heights] == [value > 20 for value in path]
    assert any(value > 20 for value in path)
