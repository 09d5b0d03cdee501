"""The header of a CSV file, as spreadsheets and people leave it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from portfolio.__main__ import main
from portfolio.files.csv_columns import as_json
from tests.conftest import Made

HEADER = "amount,int_rate,grade,purpose,emp_length"
ROW = "12000,0.13,C,car,"


def scored(content: str, bundle: Path, folder: Path) -> int:
    (folder / "in.csv").write_bytes(content.encode())
    return main([str(folder / "in.csv"), str(folder / "out.csv"), "--model", str(bundle), "--quiet", "--workers", "1"])


@pytest.mark.parametrize("before", ["\n\n", "\r\n", "sep=,\n", "\ufeff\n", "\ufeffsep=,\r\n\r\n"])
def test_lines_before_the_header_that_say_nothing(before: str, bundles: list[Made], tmp_path: Path) -> None:
    """And a rejected row still says its line in the file."""
    bad = ROW.replace("0.13", "13")
    assert scored(f"{before}{HEADER}\n{ROW}\n{bad}\n", bundles[0].path, tmp_path) == 0
    with (tmp_path / "out.csv.rejected.csv").open(newline="", encoding="utf-8") as file:
        (rejected,) = csv.DictReader(file)
    assert (rejected["row"], rejected["line"]) == ("2", str(3 + before.count("\n")))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"{HEADER}\n{ROW}\n".replace(",", ";"), "separated by semicolons"),
        (f"{HEADER}\n{ROW}\n".replace(",", "\t"), "separated by tabs"),
        (f"sep=;\n{HEADER}\n{ROW}\n".replace(",", ";"), "separated by semicolons"),
        (f'"{HEADER}\n{ROW}\n', "inside quotation marks"),
        ("\n\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_what_is_no_header_is_said(
    content: str, says: str, bundles: list[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scored(content, bundles[0].path, tmp_path) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_an_open_quotation_mark_rejects_its_row(bundles: list[Made], tmp_path: Path) -> None:
    """Not the thousands of rows that it took in, without a word."""
    content = f"{HEADER}\n" + f"{ROW}\n" * 50 + '12000,0.13,C,"car,\n' + f"{ROW}\n" * 5000
    assert scored(content, bundles[0].path, tmp_path) == 0
    with (tmp_path / "out.csv.rejected.csv").open(newline="", encoding="utf-8") as file:
        (rejected,) = csv.DictReader(file)
    assert (rejected["row"], rejected["line"]) == ("51", "52")
    assert "ends inside quotation marks" in rejected["error"]
    assert (tmp_path / "out.csv").read_text("utf-8").count("\n") == 51


def test_a_rejected_record_is_json() -> None:
    """NaN and infinity are not: they are texts."""
    record = {"a": float("nan"), "b": [float("inf"), 1.5], "c": "x"}
    assert json.loads(as_json(record), parse_constant=pytest.fail) == {"a": "nan", "b": ["inf", 1.5], "c": "x"}
