"""``/model-card``: to be read on a screen and on paper."""

from __future__ import annotations

import math

import pytest
from playwright.sync_api import Page, expect

from modelbundle.explain.curves import NumberCurve, curves
from modelbundle.format import bundle
from tests.browser.conftest import SHIPPED, Open


@pytest.fixture
def page(open_page: Open, address: str) -> Page:
    return open_page(f"{address}/model-card")


def test_the_model_can_be_read_about(page: Page) -> None:
    """Figures with what they mean, a curve per feature with what matters most first, pairs, and the author's words."""
    expect(page.get_by_role("row", name="ROC-AUC how often a case of the positive kind")).to_contain_text(
        "0.7149 to 0.7329"
    )
    titles = page.locator("#curves figcaption").all_inner_texts()
    assert len(titles) == 10
    assert titles[0].startswith("Interest rate")
    assert page.locator("#pairs figure").count() == 5
    page.get_by_role("link", name="What it must not be used for").click()
    expect(page.get_by_role("heading", name="What it must not be used for")).to_be_in_viewport()


def test_a_curve_is_read_off_under_the_pointer(page: Page) -> None:
    """The number is the model's own, to the last digit that is shown."""
    picture = page.locator("figure[data-feature=int_rate] svg")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    text = picture.locator("text.reading")
    expect(text).to_be_visible()
    value, _, factor = (text.text_content() or "").partition(": ×")
    curve = curves(bundle.read(SHIPPED), {}).curves[1]
    assert isinstance(curve, NumberCurve)
    near = {f"{math.exp(curve.at(float(value) + off)):.2f}" for off in (-0.0005, 0.0, 0.0005)}  # the value is rounded
    assert factor in near


def test_on_paper_there_is_no_navigation(page: Page) -> None:
    """Everything else is."""
    page.emulate_media(media="print")
    expect(page.locator(".top")).to_be_hidden()
    expect(page.locator(".contents")).to_be_hidden()
    expect(page.locator("#curves")).to_be_visible()


def test_the_card_as_html_has_no_rights(open_page: Open, address: str) -> None:
    """It is shown as it came with the model, in a sandbox, with its own style and plots."""
    page = open_page(f"{address}/model-card/card.html")
    expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("origin") == "null"
