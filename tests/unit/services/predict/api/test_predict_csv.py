"""``POST /predict`` with CSV: as an analyst's script meets it."""

from __future__ import annotations

import csv
import gc
import io
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest
from flask.testing import FlaskClient

from services.predict.api import csv_table
from services.predict.api.csv_answers import ADDED
from services.predict.api.csv_table import CHUNK_CHARACTERS, Table
from services.predict.api.predict_csv import CHUNK, Overdue
from services.predict.app import Application, create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import LOAN, make_book, make_logistic
from tests.unit.services.predict.api.test_predict import assert_problem, post
from tests.unit.services.predict.pages.test_try_it import serve

HEADER = "amount,int_rate,grade,purpose,emp_length"
GOOD = "12000,0.13,C,car,"


def send(client: FlaskClient, body: str | bytes, kind: str = "text/csv", **headers: str) -> Any:
    return client.post("/predict", data=body, content_type=kind, headers=headers)


def rows_of(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200, response.get_json()
    assert response.mimetype == "text/csv"
    return list(csv.DictReader(io.StringIO(response.get_data(as_text=True))))


def test_a_row_has_what_json_has(client: FlaskClient) -> None:
    """The same probability bit for bit, and the sent columns unchanged."""
    [row] = rows_of(send(client, f"{HEADER}\n30000,0.29,D,boat,\n"))
    answer = post(client, {**LOAN, "amount": 30000, "int_rate": 0.29, "grade": "D", "purpose": "boat"}).get_json()
    assert answer["reasons"]
    assert float(row["probability"]) == answer["predict_proba"][1]
    assert row["band"] == answer["band"]
    assert row["reasons"] == " | ".join(r["text"] for r in answer["reasons"])
    assert row["model_version"] == answer["model_version"]
    assert row["error"] == ""
    assert [row[name] for name in HEADER.split(",")] == ["30000", "0.29", "D", "boat", ""]


def test_where_bodies_are_small_a_book_may_still_be_as_large_as_a_body(client: FlaskClient) -> None:
    """Its rows are read a little at a time, so it takes what memory there is, and no more."""
    sent = "\n".join([HEADER, *[GOOD] * 4000, ""])
    assert 1 << 16 < len(sent) < 100_000
    assert len(rows_of(send(client, sent))) == 4000


def test_columns_in_any_order_and_others_pass_through(client: FlaskClient) -> None:
    """What the schema lacks comes back as it was; ``id`` is the caller's own."""
    sent = 'id,branch,purpose,grade,int_rate,amount,emp_length\r\nL-1,"Köln, Süd",car,C,0.13,12000,\r\n'
    [row] = rows_of(send(client, sent))
    assert (row["id"], row["branch"]) == ("L-1", "Köln, Süd")
    assert float(row["probability"]) == post(client, LOAN).get_json()["predict_proba"][1]


def test_a_bad_row_is_marked_and_the_others_are_scored(client: FlaskClient) -> None:
    """Every row comes back, in order, with its own answer or its own error."""
    bad = {
        1: ("abc,0.13,C,car,", "amount: must be a number"),
        2: ("12000,0.13,C", "has 3 cells where the header has 5"),
        3: ("12000,1.5,C,car,", "int_rate: must be at most 1"),
        4: (",0.13,,car,", "amount: must not be null; required; grade: must not be null; required"),
        5: ("nan,0.13,C,car,", "amount: must be a number"),
        6: ("1_000,0.13,C,car,", "amount: must be a number"),
    }
    lines = [bad[i][0] if i in bad else GOOD for i in range(9)]
    rows = rows_of(send(client, "\n".join([HEADER, *lines])))
    assert len(rows) == 9
    for i, row in enumerate(rows):
        assert row["error"] == (bad[i][1] if i in bad else "")
        assert (row["probability"] == "") == (i in bad)


def test_many_chunks_are_one_answer(client: FlaskClient) -> None:
    """The same ids again with the same key, all different, whatever chunk a row is in; warnings name the column."""
    lines = [f"{12000 + i},0.13,C,{'rocket' if i == CHUNK + 3 else 'car'}," for i in range(3 * CHUNK + 7)]
    body = "\n".join([HEADER, *lines])
    first, second = (rows_of(send(client, body, **{"Idempotency-Key": "k"})) for _ in range(2))
    assert first == second
    assert len({row["prediction_id"] for row in first}) == len(lines)
    warned = [i for i, row in enumerate(first) if row["warnings"].startswith("purpose: ")]
    assert warned == [CHUNK + 3]


@pytest.mark.parametrize(
    ("header", "pointer", "detail"),
    [
        ("amount,int_rate,grade,purpose,emp_lenght", "/emp_lenght", "did you mean `emp_length`"),
        ("amount,int_rate,grade", "/purpose", "missing; required"),
        (HEADER + ",amount", "/amount", "more than once"),
        (HEADER + ",probability", "/probability", "a column that the answer adds"),
        (HEADER + "," * 300, "", "at most 205"),
    ],
)
def test_the_header_is_checked_first(client: FlaskClient, header: str, pointer: str, detail: str) -> None:
    """Before a row is read: a book that cannot be scored is refused at once."""
    data = assert_problem(send(client, f"{header}\n{GOOD}\n"), 422)
    assert any(e["pointer"] == pointer and detail in e["detail"] for e in data["errors"])


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"", "text/csv", 400, "empty"),
        (b"amount\n\xff\xfe\n", "text/csv", 400, "line 2"),
        (b"a", "text/csv; charset=latin-1", 415, "UTF-8"),
        (b"a", "text/csv; header=absent", 415, "header"),
        (b"a", "text/csvx", 415, "text/csv"),
    ],
)
def test_what_is_no_csv_is_refused(client: FlaskClient, body: bytes, kind: str, status: int, words: str) -> None:
    assert words in assert_problem(send(client, body, kind), status)["detail"]


def test_too_many_rows_are_refused_with_the_bound(application: Application, settings: Settings) -> None:
    """Counted as rows, not as lines: a quoted line break is none."""
    client = create_app(replace(settings, max_csv_rows=3), application.store).flask.test_client()
    data = assert_problem(send(client, "\n".join([HEADER] + 4 * [GOOD])), 413)
    assert data["max_rows"] == 3
    assert "at most 3" in data["detail"]
    quoted = f"{HEADER},note\n" + 3 * f'{GOOD},"a\nb\nc"\n'
    assert len(rows_of(send(client, quoted))) == 3


def test_a_mark_blank_lines_and_a_header_alone(client: FlaskClient) -> None:
    """What spreadsheets write is understood."""
    assert len(rows_of(send(client, f"\ufeff{HEADER}\r\n{GOOD}\r\n\r\n{GOOD}\r\n"))) == 2
    assert rows_of(send(client, HEADER)) == []


def test_the_model_is_held_until_the_answer_ends(application: Application) -> None:
    """However the answer ends: read to the end, or dropped."""
    for read in (True, False):
        response = send(application.flask.test_client(), "\n".join([HEADER] + 2000 * [GOOD]))
        requests = application.models.current().requests
        assert len(requests) == 1
        if read:
            assert len(rows_of(response)) == 2000
        response.close()
        assert len(requests) == 0


def test_the_added_columns_are_documented_in_order(client: FlaskClient) -> None:
    header = send(client, HEADER).get_data(as_text=True).strip().split(",")
    assert header == [*HEADER.split(","), *ADDED]


def test_of_many_classes_contributions_are_null(client: FlaskClient, store: StateDir, tmp_path: Path) -> None:
    """In JSON and in CSV alike: such a model has no exact ones."""
    frame, labels = make_book(400)
    frame = frame.drop(columns="emp_length")
    joblib.dump(make_logistic().fit(frame, labels + (frame["amount"] > 30000)), tmp_path / "three.joblib")
    serve(store, tmp_path / "three.joblib")
    record = {"amount": 1000.0, "int_rate": 0.1, "grade": "A", "purpose": "car"}
    assert post(client, record, "?contributions=all").get_json()["contributions"] is None
    assert "contributions" not in post(client, record).get_json()
    sheet = "amount,int_rate,grade,purpose\n" + 2 * "1000,0.1,A,car\n"
    response = client.post("/predict?contributions=all", data=sheet, content_type="text/csv")
    assert [row["contributions"] for row in csv.DictReader(io.StringIO(response.text))] == ["null", "null"]


@pytest.mark.parametrize("before", [0, 1, 499, 500, 501])
def test_a_text_that_ends_inside_quotation_marks_is_an_error_of_that_row(client: FlaskClient, before: int) -> None:
    """The rows before are scored; those that the mark took in are not lost without a word."""
    lost = '12000,0.13,C,"car,\n' + f"{GOOD}\n" * 30
    sent = f"{HEADER}\n" + f"{GOOD}\n" * before + lost
    settings_rows = rows_of(send(client, sent)) if before + 31 <= 100_000 else []
    assert len(settings_rows) == before + 1
    assert all(row["probability"] and not row["error"] for row in settings_rows[:-1])
    assert settings_rows[-1]["probability"] == ""
    line = before + 2
    assert (
        settings_rows[-1]["error"]
        == f"begins on line {line} and ends inside quotation marks: one of them is not closed"
    )


def test_a_header_that_is_not_closed(client: FlaskClient) -> None:
    response = send(client, f'"{HEADER}\n{GOOD}\n')
    assert_problem(response, 400)
    assert "inside quotation marks" in response.get_json()["detail"]


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
@pytest.mark.parametrize("hint", ["", "sep={}\n"])
def test_another_separator_is_named(client: FlaskClient, mark: str, name: str, hint: str) -> None:
    """Spreadsheets write them where the comma is the decimal mark."""
    sent = hint.format(mark) + f"{HEADER}\n{GOOD}\n".replace(",", mark)
    (error,) = send(client, sent).get_json()["errors"]
    assert error["detail"] == f"the columns seem to be separated by {name}; separate them by commas"


@pytest.mark.parametrize("first", ["\n\n", "\r\n", "sep=,\n", "\ufeff\n"])
def test_lines_before_the_header_that_say_nothing(client: FlaskClient, first: str) -> None:
    [row] = rows_of(send(client, f"{first}{HEADER}\n{GOOD}\n"))
    assert row["probability"]


def test_an_optional_column_in_another_case_is_taken_for_a_mistake(client: FlaskClient) -> None:
    """Ignored without a word it would change the score."""
    response = send(client, f"{HEADER.replace('emp_length', 'EMP_LENGTH')}\n{GOOD}3\n")
    (error,) = response.get_json()["errors"]
    assert error == {"pointer": "/EMP_LENGTH", "detail": "unknown field; did you mean `emp_length`?"}
    (error,) = post(client, {**LOAN, "Emp_Length": 3}).get_json()["errors"]
    assert error["detail"] == "unknown field; did you mean `emp_length`?"


def test_an_answer_that_holds_a_former_model_for_too_long_is_broken_off(
    application: Application, client: FlaskClient
) -> None:
    """What had been sent stays right; its client sees that the rest is missing."""
    sent = "\n".join([HEADER, *[GOOD] * (3 * CHUNK)])
    answer = client.post("/predict", data=sent, content_type="text/csv", buffered=False)
    parts = iter(answer.response)
    next(parts)
    assert next(parts).count(b"\n") == CHUNK
    application.models.current().requests.overdue = True
    with pytest.raises(Overdue):
        next(parts)


def test_a_row_beyond_the_limit_ends_the_answer(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is named with its line; those before it are scored. One row must not take the memory of a whole body."""
    longest = 1000
    monkeypatch.setattr(csv_table, "LONGEST_ROW", longest)
    header, row = HEADER, GOOD
    for long in ('"' + "x" * longest, "x," * longest, '"x\n",' * (longest // 4)):
        rows = rows_of(send(client, f"{header}\n{row}\n{long}\n{row}\n"))
        assert [bool(found["error"]) for found in rows] == [False, True]
        assert rows[1]["error"].startswith("begins on line 3 and has more than")
    assert send(client, "x" * (longest + 1)).status_code == 400


def test_only_a_little_of_a_table_is_read_at_a_time() -> None:
    """However wide its rows are, and nothing keeps the body when the table is gone."""
    body = b"a,b\n" + (b"ab," * 20_000 + b"\n") * 50
    table = Table(body)
    sizes = [len(rows) for rows in table.chunks(500)]
    assert sum(sizes) == 50
    assert max(sizes) <= 1 + CHUNK_CHARACTERS // 60_000
    gone = weakref.ref(table)
    gc.disable()
    try:
        del table
        assert gone() is None
    finally:
        gc.enable()


def test_the_line_of_a_byte_that_is_not_utf_8(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also far inside, and where a character is cut by the end."""
    monkeypatch.setattr(csv_table, "CHUNK_CHARACTERS", 1000)
    for before in (1, 999, 5_000):
        assert "(line 2)" in send(client, b"a" * before + b"\n\xff").get_json()["detail"]
    assert "(line 1)" in send(client, b"a" * 999 + b"\xc3").get_json()["detail"]
