"""The loans: found where the user has put them, read tolerantly where it is unambiguous, refused by name where it is not."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from late_payers.data import TEST_FILE, TRAINING_FILE, DataError, fingerprint, load, read_table
from late_payers.features import COLUMNS, TARGET

HEADER = ",".join([*COLUMNS, TARGET])
ROW = "12000,0.2039,credit_card,D,42000.0,0.40399999999999997,10+ years,14.46,0,RENT,0"
GAPS = "8000,0.1306,other,C,73000.0,,,33.27,0,MORTGAGE,1"
TABLE = f"{HEADER}\n{ROW}\n{GAPS}\n".encode()


def archive(path: Path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in entries.items():
            made.writestr(name, content)


def test_a_table_is_read_as_it_is_written() -> None:
    """Numbers are correctly rounded float64, what is empty is missing, the outcome is 0 or 1."""
    frame = read_table(TABLE, "here")
    assert list(frame.columns) == [*COLUMNS, TARGET]
    assert frame["revol_util"].tolist()[0] == 0.40399999999999997
    assert frame["revol_util"].isna().tolist() == [False, True]
    assert frame["emp_length"].isna().tolist() == [False, True]
    assert frame[TARGET].tolist() == [0, 1]


def test_other_columns_another_order_and_percentages_are_understood() -> None:
    """A file with further columns, another order or percentages is read."""
    columns = [*reversed(COLUMNS), TARGET]
    values = dict(zip([*COLUMNS, TARGET], ROW.split(","), strict=True)) | {"int_rate": "20.39%"}
    content = f"index,{','.join(columns)}\n7,{','.join(values[c] for c in columns)}\n".encode()
    assert read_table(content, "here").equals(read_table(f"{HEADER}\n{ROW}\n".encode(), "here"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a CSV"),
        (b"a,b\n1,2\n", "lacks the columns loan_amnt"),
        (HEADER.encode(), "no rows"),
        (TABLE.replace(b"14.46", b"fourteen"), "dti must be a number; row 2"),
        (TABLE.replace(b"14.46", b"inf"), "dti must be a number"),
        (TABLE.replace(b",1\n", b",2\n"), "is_late must be 0 or 1"),
        (b"\xff\xfe\x00", "here"),
    ],
)
def test_what_cannot_be_used_is_named(content: bytes, words: str) -> None:
    """The error names the file, the column, the row and the expectation, in one line."""
    with pytest.raises(DataError, match="here") as caught:
        read_table(content, "here")
    assert words in str(caught.value)


def test_the_archive_is_found_before_the_tables(tmp_path: Path) -> None:
    """The archive comes first; its folders do not matter, and the hidden files of macOS are ignored."""
    (tmp_path / TRAINING_FILE).write_bytes(TABLE)
    said: list[str] = []
    assert load(tmp_path, say=said.append).source == "training only"
    shadow = f"__MACOSX/data/{TEST_FILE}"
    archive(tmp_path / "peerLoanData.zip", {f"data/{TRAINING_FILE}": TABLE, f"data/{TEST_FILE}": TABLE, shadow: b"x"})
    book = load(tmp_path, say=said.append)
    assert book.source == "original"
    assert book.test is not None
    assert book.fingerprint == fingerprint(book.training)
    assert "peerLoanData.zip" in said[-1]


def test_a_damaged_archive_is_one_clear_error(tmp_path: Path) -> None:
    """A truncated archive and an archive without the table give one clear error."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(TEST_FILE, TABLE)
    (tmp_path / "peerLoanData.zip").write_bytes(buffer.getvalue()[:-10])
    with pytest.raises(DataError, match="not a readable zip"):
        load(tmp_path, say=lambda _: None)
    (tmp_path / "peerLoanData.zip").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"has no peerLoanTraining\.csv"):
        load(tmp_path, say=lambda _: None)


def test_without_the_original_the_stand_in_is_used_and_the_first_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without original files, the loader says that the loans are simulated."""
    from late_payers import simulation

    small = simulation.stand_in(500, 100)
    monkeypatch.setattr(simulation, "stand_in", lambda: small)
    said: list[str] = []
    book = load(tmp_path, say=said.append)
    assert book.source == "stand-in"
    assert "simulated" in said[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_named_however_it_is_compressed(method: int, tmp_path: Path) -> None:
    """Each byte of it is wrong once."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        made.writestr(TRAINING_FILE, TABLE)
    whole = buffer.getvalue()
    path = tmp_path / "peerLoanData.zip"
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            load(tmp_path, say=lambda _: None)
        except DataError:
            refused += 1
    assert refused
