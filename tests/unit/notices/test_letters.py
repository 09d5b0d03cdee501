"""The set of letters in ``letters/``: each is made from a recorded loan and compared to the last letter."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Callable
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from modelbundle.author import Author
from modelbundle.errors import FormatError, PublishError
from modelbundle.explain.notice import DEFAULT, OPTIONAL, REQUIRED, Template
from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.publishing.publish import publish
from notices.__main__ import main
from notices.letter import Creditor, Letters, NoNotice
from services.predictionlog import audit, database
from tests.conftest import BANDS, LOAN, WORDS, Made, make_book, make_logistic
from tests.unit.services.logs import Written

LETTERS = Path(__file__).parent / "letters"
CREDITOR = """
name = "PeerLoan, Inc."
address = \"\"\"
1 Example Street
Springfield, NJ 07081\"\"\"
phone = "(555) 010-0199"
agency = "Federal Trade Commission, Equal Credit Opportunity, Washington, DC 20580"
"""
ACTION = "We cannot give you the loan that you asked for."
DAY = date(2026, 11, 29)
HOSTILE = "<script>alert(1)</script> & \"Zoë\" {reasons}\n5 'Rue' de l'Église"
ADA = "Ada Example\n2 Road\nNewark, NJ"
OWN = b"""# {creditor_name} on {date}

Dear borrower,
{recipient}

{action} It would have cost $12 {creditor_phone}

{reasons}

{agency}
{creditor_address}
"""


@pytest.fixture
def log(tmp_path: Path) -> Written:
    return Written(tmp_path / "data")


@pytest.fixture
def creditor(tmp_path: Path) -> Creditor:
    (tmp_path / "creditor.toml").write_text(CREDITOR, "utf-8")
    return Creditor.read(tmp_path / "creditor.toml")


def record(log: Written, model: Model, *loans: dict[str, Any]) -> list[dict[str, Any]]:
    """The loans as they are found in the log."""
    frame = pd.DataFrame([{**LOAN, **loan} for loan in loans]).astype({"emp_length": "float64"})
    return [audit.find(log.engine, row["prediction_id"])[0] for row in log.add(model, frame)]


RISKY = {"amount": 39000, "int_rate": 0.29, "grade": "A", "purpose": "boat"}
CASES: dict[str, tuple[dict[str, Any], str, bytes | None]] = {
    "default": (RISKY, "", None),
    "one-reason": (
        {"amount": 39000, "int_rate": 0.29, "grade": "A", "purpose": "car", "emp_length": 9.0},
        ADA,
        None,
    ),
    "hostile-recipient": (RISKY, HOSTILE, None),
    "lenders-own": (RISKY, HOSTILE, OWN),
}


@pytest.mark.parametrize("name", CASES)
def test_the_letters_are_as_before(
    name: str, log: Written, creditor: Creditor, bundles: list[Made], tmp_path: Path
) -> None:
    loan, recipient, own = CASES[name]
    if own:
        (tmp_path / "own.txt").write_bytes(own)
    letters = Letters([bundles[0].path.parent], creditor, tmp_path / "own.txt" if own else None)
    (found,) = record(log, bundle.read(bundles[0].path), loan)
    letter = letters.compose(found, ACTION, DAY, recipient)
    if os.environ.get("WRITE_LETTERS"):
        (LETTERS / f"{name}.txt").write_text(letter.text, "utf-8")
        (LETTERS / f"{name}.html").write_text(letter.html, "utf-8")
    assert letter.text == (LETTERS / f"{name}.txt").read_text("utf-8")
    assert letter.html == (LETTERS / f"{name}.html").read_text("utf-8")
    assert [reason["text"] for reason in found["reasons"]] == [
        line.split(". ", 1)[1] for line in letter.text.splitlines() if line[:1].isdigit() and line[1:3] == ". "
    ]


class Tags(HTMLParser):
    """Collects the elements and their attributes' names."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.update([tag, *(f"{tag}@{name}" for name, _ in attrs)])


@pytest.mark.parametrize("path", sorted(LETTERS.glob("*.html")), ids=lambda path: path.stem)
def test_no_letter_has_anything_active(path: Path) -> None:
    tags = Tags()
    tags.feed(path.read_text("utf-8"))
    text = {"p", "br", "h1", "ol", "li"}
    assert tags.seen <= {*text, "html", "html@lang", "head", "title", "style", "body"} | {
        *("meta", "meta@charset", "meta@name", "meta@content", "meta@http-equiv")
    }


def test_nothing_that_is_not_disclosable_is_in_any_letter() -> None:
    """Of the interest rate and the grade; every letter says what the act wants."""
    for path in LETTERS.iterdir():
        text = path.read_text("utf-8")
        assert "Interest rate" not in text
        assert "Federal Trade Commission" in text
        assert "1 Example Street" in text
        assert ACTION in text


def test_a_loan_that_no_reason_was_told_for(log: Written, creditor: Creditor, bundles: list[Made]) -> None:
    letters = Letters([bundles[0].path.parent], creditor)
    model = bundle.read(bundles[0].path)
    (found,) = record(log, model, RISKY)
    with pytest.raises(NoNotice, match="no reason was told"):
        letters.compose({**found, "reasons": []}, ACTION, DAY)
    with pytest.raises(NoNotice, match="gives no reasons"):
        letters.compose({**found, "reasons": None}, ACTION, DAY)


def test_a_reason_without_a_sentence_is_not_specific(log: Written, creditor: Creditor, bundles: list[Made]) -> None:
    """The author of the model wrote nothing about grades."""
    (found,) = record(log, bundle.read(bundles[0].path), {**RISKY, "grade": "D"})
    with pytest.raises(NoNotice, match="no sentence for grade"):
        Letters([bundles[0].path.parent], creditor).compose(found, ACTION, DAY)


@pytest.mark.parametrize(
    "change",
    [
        {"input": {**LOAN, "amount": 1000}},
        {"reasons": [{"feature": "amount", "text": "another sentence", "contribution": 1.0}]},
        {"probabilities": [0.5, 0.5]},
    ],
    ids=["input", "reasons", "probabilities"],
)
def test_a_record_that_was_changed_makes_no_letter(
    log: Written, creditor: Creditor, bundles: list[Made], change: dict[str, Any]
) -> None:
    (found,) = record(log, bundle.read(bundles[0].path), RISKY)
    with pytest.raises(NoNotice, match="the record was changed"):
        Letters([bundles[0].path.parent], creditor).compose({**found, **change}, ACTION, DAY)


def test_without_the_model_there_is_no_letter(
    log: Written, creditor: Creditor, bundles: list[Made], tmp_path: Path
) -> None:
    (found,) = record(log, bundle.read(bundles[0].path), RISKY)
    with pytest.raises(NoNotice, match="the model is not kept here"):
        Letters([tmp_path / "empty"], creditor).compose(found, ACTION, DAY)


@pytest.mark.parametrize("text", ["", "  ", "\x1b[2J", "a" * 2001])
def test_what_was_done_must_be_said_in_print(log: Written, creditor: Creditor, bundles: list[Made], text: str) -> None:
    (found,) = record(log, bundle.read(bundles[0].path), RISKY)
    with pytest.raises(NoNotice, match="action"):
        Letters([bundles[0].path.parent], creditor).compose(found, text, DAY)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "not UTF-8"),
        (b"x" * 70_000, "more than 65,536 bytes"),
        (DEFAULT + b"\x00", "cannot be printed"),
        (DEFAULT + b"{creditor_email}", "{creditor_email} is no field"),
        (DEFAULT + b"{0.__class__}", "is no field"),
        (DEFAULT.replace(b"{agency}", b"the agency"), "does not say {agency}"),
        (DEFAULT.replace(b"{reasons}", b"none"), "does not say {reasons}"),
        (DEFAULT.replace(b"{reasons}", b"because {reasons}"), "by itself"),
        (DEFAULT + b"\n{reasons}\n", "once"),
        (b"", "does not say"),
    ],
)
def test_what_is_no_template(content: bytes, said: str) -> None:
    with pytest.raises(FormatError) as refused:
        Template.parse(content, "here")
    assert str(refused.value).startswith("here")
    assert said in str(refused.value)


def test_a_template_of_another_system_has_a_mark_and_other_line_ends() -> None:
    assert Template.parse(b"\xef\xbb\xbf" + DEFAULT.replace(b"\n", b"\r\n"), "x") == Template.parse(DEFAULT, "x")


def test_the_documentation_names_every_field() -> None:
    page = (Path(__file__).parents[3] / "docs" / "notices.md").read_text("utf-8")
    for name in (*REQUIRED, *OPTIONAL):
        assert f"`{{{name}}}`" in page


def test_a_bundle_brings_its_template_and_a_wrong_one_is_not_published(
    log: Written, creditor: Creditor, tmp_path: Path
) -> None:
    """It is checked when the bundle is made, and when it is loaded."""
    frame, labels = make_book()
    frame = frame.drop(columns="emp_length")
    pipeline = make_logistic().fit(frame, labels)
    words = {name: of for name, of in WORDS.items() if name in frame}
    author = Author("own", "Own", "late", words, BANDS, {"data": "made up"}, {}, notice=OWN.decode())
    made = publish(pipeline, frame, labels, tmp_path / "own.bundle", author=author)
    model = bundle.read(made.path)
    rows = log.add(model, frame[frame["grade"] == "A"])
    found = next(one for row in rows if (one := audit.find(log.engine, row["prediction_id"])[0])["reasons"])
    letter = Letters([tmp_path], creditor).compose(found, ACTION, DAY)
    assert letter.text.startswith("PeerLoan, Inc. on November 29, 2026\n\nDear borrower,\n\n" + ACTION)
    wrong = Author("own", "Own", "late", words, BANDS, {"data": "made up"}, {}, notice="No.")
    with pytest.raises(PublishError, match=r"notice\.txt"):
        publish(pipeline, frame, labels, tmp_path / "wrong.bundle", author=wrong)
    assert not (tmp_path / "wrong.bundle").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "is not TOML"),
        ('name = "x"', "must say address"),
        (CREDITOR + 'fax = "1"', "fax is nothing"),
        (CREDITOR.replace('"(555) 010-0199"', "5550100199"), "phone must be text"),
        (None, "cannot be read"),
    ],
)
def test_a_creditor_that_cannot_be_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(NoNotice, match=said):
        Creditor.read(path)


@pytest.fixture
def run(
    log: Written, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, creditor: Creditor
) -> Callable[..., int]:
    """The command, in a directory with the log, the model and the creditor."""
    (tmp_path / "models").symlink_to(bundles[0].path.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "data")
    for name in ("PREDICTION_LOG_URL", "NOTICE_TEMPLATE", "CREDITOR_FILE", "STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: main([*arguments, "--date", DAY.isoformat()])


def test_a_letter_is_written_for_its_owner_only_and_recorded(
    run: Callable[..., int], log: Written, bundles: list[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = record(log, bundle.read(bundles[0].path), RISKY)
    os.umask(0)
    try:
        assert run(found["prediction_id"], "--action", ACTION) == 0
    finally:
        os.umask(0o022)
    written = sorted((tmp_path / "letters").iterdir())
    assert [path.suffix for path in written] == [".html", ".txt"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert stat.S_IMODE((tmp_path / "letters").stat().st_mode) == 0o700
    with log.engine.connect() as connection:
        kind, detail = connection.execute(sa.select(database.events.c.kind, database.events.c.detail)).one()
    assert kind == "notice"
    assert json.loads(detail)["prediction_id"] == found["prediction_id"]
    (letter,) = audit.one(log.engine, found["prediction_id"])["notices"]
    assert letter["reasons"] == [reason["feature"] for reason in found["reasons"]]
    assert capsys.readouterr().out == "letters written to letters, and recorded: 1\n"


def test_a_list_of_letters_says_which_were_not_written_and_why(
    run: Callable[..., int], log: Written, bundles: list[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are."""
    first, second = record(log, bundle.read(bundles[0].path), RISKY, {**RISKY, "amount": 38000})
    with (tmp_path / "list.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "recipient", "action"])
        rows.writerows(
            [
                [first["prediction_id"], HOSTILE, ""],
                ["nobody", "", ""],
                [second["prediction_id"], "", "We end your loan."],
            ]
        )
    assert run("--list", "list.csv", "--action", ACTION) == 1
    said = capsys.readouterr()
    assert said.err == "nobody: no prediction has this id\n"
    assert said.out.endswith("recorded: 2\n")
    assert "We end your loan." in (tmp_path / "letters" / f"{second['prediction_id']}.txt").read_text("utf-8")
    assert "Zoë" in (tmp_path / "letters" / f"{first['prediction_id']}.txt").read_text("utf-8")


def test_an_id_of_two_predictions_names_neither(
    run: Callable[..., int], log: Written, bundles: list[Made], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = record(log, bundle.read(bundles[0].path), RISKY, {**RISKY, "amount": 38000})
    with log.engine.begin() as connection:
        connection.execute(sa.update(database.predictions).values(record_id="loan-17"))
    assert run("loan-17", "--action", ACTION) == 1
    said = capsys.readouterr().err
    assert first["prediction_id"] in said
    assert second["prediction_id"] in said


@pytest.mark.parametrize("text", ["number\n1\n", "id,id\n1,2\n", "id,age\n1,2\n", "id\n1,2\n", 'id\n"1', ""])
def test_a_list_that_cannot_be_read(
    run: Callable[..., int], log: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "list.csv").write_text(text, "utf-8")
    assert run("--list", "list.csv", "--action", ACTION) == 1
    assert "list.csv" in capsys.readouterr().err
    assert not (tmp_path / "letters").exists()


def test_without_a_log_there_is_no_letter(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", "elsewhere")
    assert run("x", "--action", ACTION) == 1
