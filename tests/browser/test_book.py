"""``/batch``: a book is checked and scored in the browser, and comes to what the API alone would answer."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FileChooser, FilePayload, Page, Route, TimeoutError, expect

from tests.browser.conftest import WAIT, Open, Troubles
from tests.conftest import Made
from tests.integration.system import System, ask

HEADER = "loan_amnt,int_rate,purpose,grade,annual_inc,revol_util,emp_length,dti,delinq_2yrs,home_ownership"
GOOD = "10000,0.13,credit_card,C,60000,0.5,5 years,18,0,RENT"


def choose(page: Page, content: bytes | str, name: str = "book.csv") -> None:
    data = content.encode() if isinstance(content, str) else content
    page.set_input_files("#file", FilePayload(name=name, mimeType="text/csv", buffer=data))


def score(page: Page) -> None:
    page.click("#go")
    expect(page.locator("#save")).to_be_visible()


def saved(page: Page) -> str:
    with page.expect_download() as download:
        page.click("#save")
    return Path(download.value.path()).read_bytes().decode("utf-8")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def page(open_page: Open, address: str) -> Page:
    return open_page(f"{address}/batch")


CORPUS = [
    GOOD,
    GOOD.replace("10000", " 1e4 "),
    GOOD.replace("10000", "1_000"),
    GOOD.replace("10000", "0x10"),
    GOOD.replace("10000", "nan"),
    GOOD.replace("10000", "1e999"),
    GOOD.replace("10000", "٣"),
    GOOD.replace("10000", '"10,000"'),
    GOOD.replace("0.13", "13"),
    GOOD.replace("0.13", "-.5"),
    GOOD.replace("0.13", ""),
    GOOD.replace("0.5", ""),
    GOOD.replace("5 years", "a while"),
    GOOD.replace("credit_card", ""),
    GOOD.replace("credit_card", "é" * 257),
    GOOD.replace("credit_card", '"a ""quoted""\nwish"'),
    GOOD.replace("credit_card", '"=HYPERLINK(""http://elsewhere"")"'),
    GOOD.replace("C", "").replace("RENT", ""),
    "1,2,3",
    f"{GOOD},more,cells",
    "",
    GOOD,
]


def test_a_scored_book_is_what_the_api_answers(page: Page, shipped: System) -> None:
    """Row by row, the same columns, the same bits and the same words for what is wrong, though bad rows are never sent."""
    ids = ["x" * 65, *(f"L-{i}" for i in range(1, len(CORPUS)))]
    lines = [f"{own},{row}" if row else "" for own, row in zip(ids, CORPUS, strict=True)]
    open_row = f'last,"{GOOD}\r\nL-0,{GOOD}'  # what follows the mark is in it
    book = "\r\n".join([f"id,{HEADER}", *lines, open_row])
    choose(page, book)
    score(page)
    found = saved(page)
    _, _, answer = ask(shipped.port, "POST", "/predict", book.encode(), {"Content-Type": "text/csv"})
    mine, theirs = rows_of(found), rows_of(answer.decode())
    assert sum(bool(row["error"]) for row in theirs) > 10
    for own, other in zip(mine, theirs, strict=True):
        assert bool(own.pop("prediction_id")) == bool(other.pop("prediction_id"))
        assert own == other
    assert found.startswith(f"id,{HEADER},prediction,probability,band")
    assert '"a ""quoted""\nwish"' in found


def test_problems_are_shown_by_row_before_anything_is_sent(page: Page) -> None:
    """Each with its line in the file; the rest can be scored all the same."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    choose(page, "\n".join([HEADER, GOOD, '"1', f'0000"{GOOD[5:]}', GOOD.replace("0.13", "13"), GOOD]))
    expect(page.locator(".verdict")).to_have_text(
        "2 rows of 4 cannot be scored; they will say why in the column “error”."
    )
    rows = page.locator(".problems tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("3loan_amnt: must be a number")
    expect(rows.nth(1)).to_contain_text("5int_rate: must be at most 1 fraction per year")
    expect(page.locator("#go")).to_have_text("Score 2 rows")
    assert sent == []


def test_only_the_models_columns_leave_the_computer(page: Page) -> None:
    """What passes through is put back from the file: letter by letter."""
    bodies: list[str] = []
    page.on("request", lambda request: bodies.append(request.post_data or "") if request.method == "POST" else None)
    choose(page, f'secret,{HEADER},"and, this"\n"4111 1111",{GOOD},"  ""so"" "\n')
    score(page)
    assert bodies == [f"{HEADER}\r\n{GOOD}\r\n"]
    assert saved(page).splitlines()[1].startswith(f'"4111 1111",{GOOD},"  ""so"" ",0,0.0')


def test_a_misspelt_header_is_explained(page: Page, shipped: System) -> None:
    """In the API's words, with what was probably meant; nothing can be scored until it fits."""
    text = f"{HEADER.replace('int_rate', 'intrate')},grade,band\n{GOOD},C,low\n"
    choose(page, text)
    expect(page.locator(".verdict")).to_contain_text("The header does not fit")
    found = page.locator(".scroll tbody tr").all_inner_texts()
    _, _, problem = shipped.post(text.encode(), **{"Content-Type": "text/csv"})
    assert sorted(found) == sorted(f"{p['pointer'][1:]}\t{p['detail']}" for p in problem["errors"])
    assert "intrate\tunknown field; did you mean `int_rate`?" in found
    expect(page.locator("#go")).to_have_count(0)


def test_a_quotation_mark_that_is_left_open_is_found(page: Page, tmp_path: Path) -> None:
    """It would take in all that follows: the row in which it stands is named."""
    file = tmp_path / "open.csv"
    file.write_text(f'{HEADER}\n{GOOD}\n"{GOOD}\n' + f"{GOOD}\n" * 350_000, "utf-8")
    page.set_input_files("#file", file)
    expect(page.locator("#found")).to_contain_text(
        "The row that begins on line 3 is longer than 16 MB: a quotation mark"
    )


UTF_16 = f"{HEADER},name\n{GOOD},Zoë\n".encode("utf-16")
LONG = f"{HEADER},note\n{GOOD},{'x' * 10_000_000}\n{GOOD},short\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "The file is empty."),
        (b"\xef\xbb\xbf", "The file is empty."),
        (b"PK\x03\x04 and so on", "This is a workbook or a zip archive, not CSV."),
        (b"\xd0\xcf\x11\xe0 and so on", "This is an old Excel workbook"),
        (b"\x7fELF\x00\x00\x01", "This is no text"),
        (GOOD, "The first row looks like data. It must name the columns."),
        ("name,born\nZoë,1990\n", "The first row names none of the model's columns."),
        (HEADER, "The file has a header and no rows."),
        (b"\xff\xfea\xd8b\x00", "The file is not valid UTF-16LE."),
    ],
    ids=["empty", "mark", "workbook", "old", "binary", "no-header", "other", "no-rows", "half-a-pair"],
)
def test_what_cannot_be_a_book_is_refused_with_the_reason(page: Page, content: bytes | str, says: str) -> None:
    """And another file can be chosen right away."""
    choose(page, content)
    expect(page.locator("#found")).to_contain_text(says)
    choose(page, f"{HEADER}\n{GOOD}\n")
    expect(page.locator("#go")).to_have_text("Score 1 row")


@pytest.mark.parametrize(
    ("content", "says", "last"),
    [
        (f"\ufeff{HEADER},name\n{GOOD},Zoë\n", None, "Zoë"),
        (UTF_16, "The file is in UTF-16LE; the download will be in UTF-8.", "Zoë"),
        (f"{HEADER},name\n{GOOD},Zoë\n".encode("latin-1"), "Line 2 is not valid UTF-8, so the file was read as", "Zoë"),
        (f"{HEADER},name\n{GOOD},Zoë\n".replace(",", ";"), "separated by semicolons, not commas", "Zoë"),
        (f"{HEADER},name\r{GOOD},Zoë\r", None, "Zoë"),
        (LONG, None, "short"),
    ],
    ids=["mark", "utf-16", "latin-1", "semicolons", "old-mac", "10 MB"],
)
def test_what_spreadsheets_write_is_read(page: Page, content: bytes | str, says: str | None, last: str) -> None:
    """Other encodings, separators and line ends; a line of ten megabytes. What was taken for granted is said."""
    choose(page, content)
    expect(page.locator("#go")).to_be_enabled()
    if says:
        expect(page.locator("#found")).to_contain_text(says)
    score(page)
    text = saved(page)
    separator = ";" if "semicolons" in (says or "") else ","
    row = text.splitlines()[-1].split(separator)
    assert row[10] == last
    assert 0 < float(row[12]) < 1


def test_decimal_commas_are_pointed_out(page: Page) -> None:
    """Where semicolons separate, commas often stand in numbers."""
    choose(page, f"{HEADER}\n{GOOD}\n".replace(",", ";").replace("0.13", "0,13"))
    expect(page.locator("#found")).to_contain_text("1 number has a decimal comma. Write 0.13, not 0,13.")


def test_formulas_pass_through_as_they_are_unless_asked_otherwise(page: Page) -> None:
    """They are counted and said; on request each is harmless, numbers are left alone, and the scores are the same."""
    choose(page, f"{HEADER},note,change\n{GOOD},\"=cmd|' /C calc'!A0\",-5\n{GOOD},@SUM(1),+7e2\n")
    expect(page.locator("#found")).to_contain_text("2 cells begin like a formula")
    score(page)
    as_it_was = rows_of(saved(page))
    assert as_it_was[0]["note"] == "=cmd|' /C calc'!A0"
    expect(page.locator("#save")).to_be_enabled()
    page.check("#actions input")
    tamed = rows_of(saved(page))
    assert [row["note"] for row in tamed] == ["'=cmd|' /C calc'!A0", "'@SUM(1)"]
    assert [row["change"] for row in tamed] == ["-5", "+7e2"]
    assert [row["probability"] for row in tamed] == [row["probability"] for row in as_it_was]


Held = list[Route]


@pytest.fixture
def held(page: Page) -> Held:
    """Requests for scores, held until the test lets them go."""
    found: Held = []
    page.route("**/predict", lambda route: found.append(route))
    return found


def wait_for(page: Page, condition: Callable[[], bool]) -> None:
    while not condition():
        page.wait_for_timeout(10)


def test_what_is_refused_for_now_is_asked_again_as_the_same_prediction(
    page: Page, held: Held, troubles: Troubles
) -> None:
    """A 503, and an API that is away: the page says so, tries again with the same key, and nothing is lost."""
    troubles.expected = ("503", "ERR_CONNECTION_RESET")
    choose(page, f"{HEADER}\n{GOOD}\n")
    page.click("#go")
    wait_for(page, lambda: len(held) == 1)
    held[0].fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "Too many predictions are at work."})
    expect(page.locator("#alerts")).to_contain_text("Too many predictions are at work: trying again in 1 s.")
    wait_for(page, lambda: len(held) == 2)
    held[1].abort("connectionreset")
    expect(page.locator("#alerts")).to_contain_text("The API does not answer: trying again")
    wait_for(page, lambda: len(held) == 3)
    expect(page.locator("#alerts")).to_be_empty()
    held[2].continue_()
    expect(page.locator("#save")).to_be_visible()
    assert len({route.request.headers["idempotency-key"] for route in held}) == 1


def test_scoring_can_be_paused_and_stopped(page: Page, held: Held) -> None:
    """Paused, nothing more is asked; stopped, what was scored until then can be had."""
    choose(page, "\n".join([HEADER, *[GOOD] * 5000]))
    page.click("#go")
    wait_for(page, lambda: len(held) == 1)
    page.click("#pause")
    held[0].continue_()
    expect(page.locator("#pace")).to_contain_text("2,000 of 5,000 rows")
    assert len(held) == 1
    page.click("#pause")
    wait_for(page, lambda: len(held) == 2)
    held[1].continue_()
    wait_for(page, lambda: len(held) == 3)
    page.click("#stop")
    expect(page.locator("#alerts")).to_contain_text("Stopped.")
    assert len(rows_of(saved(page))) == 4000


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this id has the focus, a dozen times at most."""
    for _ in range(12):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press("Tab")
    expect(page.locator(f"#{name}")).to_be_focused()


def opened(page: Page) -> FileChooser:
    """What Space opens on the element that has the focus. Pressed again where nothing comes of it: Chromium drops input while it
    holds a page's first paint back (microsoft/playwright, issue 28023)."""
    for _ in range(4):
        try:
            with page.expect_file_chooser(timeout=WAIT / 3) as chooser:
                page.keyboard.press("Space")
            return chooser.value
        except TimeoutError:
            seen = page.evaluate("[document.activeElement.id, document.hasFocus(), document.visibilityState]")
    raise AssertionError(f"Space opens nothing: {seen}")


def test_a_book_can_be_scored_from_the_keyboard(page: Page) -> None:
    """Choosing, scoring and downloading take Tab, Space and Enter; the focus is never lost."""
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
    expect(page.locator("#main")).to_be_focused()
    tab_to(page, "file")
    opened(page).set_files(FilePayload(name="b.csv", mimeType="text/csv", buffer=f"{HEADER}\n{GOOD}\n".encode()))
    expect(page.locator("#go")).to_be_visible()
    tab_to(page, "go")
    page.keyboard.press("Enter")
    expect(page.locator("#save")).to_be_focused()
    with page.expect_download():
        page.keyboard.press("Enter")


def test_without_javascript_there_is_a_command(open_page: Open, address: str) -> None:
    """And the columns that it takes."""
    page = open_page(f"{address}/batch", java_script_enabled=False)
    assert "The command below does the same" in page.content()
    expect(page.locator("pre")).to_contain_text(f"curl {address}/predict")
    expect(page.locator("#file")).to_be_disabled()


def test_a_swap_in_the_middle_is_noticed_and_the_book_scored_again(
    pair: System, open_page: Open, bundles: list[Made]
) -> None:
    """One book, one model: each row says which model scored it, and the page offers to score them all with the one that
    answers now."""
    page = open_page(f"http://127.0.0.1:{pair.port}/batch")
    held: Held = []
    page.route("**/predict", lambda route: held.append(route))
    choose(page, "\n".join(["amount,int_rate,grade,purpose,emp_length", *["10000,0.1,A,car,3"] * 3000]))
    page.click("#go")
    wait_for(page, lambda: len(held) == 1)
    held[0].continue_()
    wait_for(page, lambda: len(held) == 2)
    pair.pin(bundles[1].path.name, bundles[1].sha256)
    pair.serving(bundles[1].sha256)
    held[1].continue_()
    both = f"2,000 rows by {bundles[0].sha256[:12]}, 1,000 rows by {bundles[1].sha256[:12]}"
    expect(page.locator("#alerts")).to_contain_text(both)
    versions = [row["model_version"] for row in rows_of(saved(page))]
    assert versions == [bundles[0].sha256] * 2000 + [bundles[1].sha256] * 1000
    page.unroute("**/predict")
    page.click("#alerts button")
    expect(page.locator("#pace")).to_contain_text("3,000 rows in")
    expect(page.locator("#alerts")).to_be_empty()
    assert {row["model_version"] for row in rows_of(saved(page))} == {bundles[1].sha256}


def module(page: Page, name: str) -> str:
    worker = page.locator("script[data-worker]").get_attribute("data-worker") or ""
    return f"/{worker.replace('scorer.js', name)}"


READ = """async ([module, texts]) => {
  const { Reader } = await import(module);
  return texts.map((pieces) => {
    const reader = new Reader();
    const rows = [];
    for (const piece of pieces) rows.push(...reader.feed(piece));
    rows.push(...reader.end());
    return rows.map(({ cells, raw, line }) => ({ cells, raw, line }));
  });
}"""


def test_the_reader_makes_of_csv_what_pythons_makes_of_it(page: Page) -> None:
    """Of anything, in pieces of any size; and a row's own text is the file's."""
    chance = random.Random(8)
    texts = ["".join(chance.choices('ab,"\n\r', k=chance.randrange(1, 25))) for _ in range(3000)]
    pieces = [
        [text[i : i + size] for i in range(0, len(text), size)] for text in texts for size in [chance.randrange(1, 9)]
    ]
    found: list[list[dict[str, Any]]] = page.evaluate(READ, [module(page, "csv.js"), pieces])
    for text, rows in zip(texts, found, strict=True):
        expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        assert [row["cells"] for row in rows] == expected, repr(text)
        assert "".join(row["raw"] for row in rows).replace("\n", "").replace("\r", "") == text.replace(
            "\n", ""
        ).replace("\r", "")


CLOSEST = """async ([module, words, names]) => {
  const { closest } = await import(module);
  return words.map((word) => closest(word, names));
}"""


def test_a_misspelling_is_recognised_as_python_does(page: Page) -> None:
    """The hint is the API's, made by the same measure."""
    names = HEADER.split(",")
    chance = random.Random(8)
    words = [
        "".join(c for c in chance.choice(names) if chance.random() > 0.2) + chance.choice(["", "s", "_x"])
        for _ in range(300)
    ]
    found = page.evaluate(CLOSEST, [module(page, "check.js"), words, names])
    assert found == [(get_close_matches(word, names, 1, 0.6) or [None])[0] for word in words]
