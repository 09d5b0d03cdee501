"""Loading the loans: the original files if the user has put them into ``data/``, else a simulated stand-in."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import pandas as pd

from late_payers.features import CATEGORIES, COLUMNS, NUMBERS, TARGET

MAX_BYTES: Final = 512 * 1024 * 1024  # of one table, unpacked
TRAINING_FILE, TEST_FILE = "peerLoanTraining.csv", "peerLoanTest.csv"
ARCHIVES: Final = ("peerLoanData.zip", "peerLoanTraining.zip")

Source = Literal["original", "training only", "stand-in"]


class DataError(Exception):
    """A file cannot be used; the message names the file, the column and what the loader expects."""


@dataclass(frozen=True, slots=True)
class Book:
    """Two quarters of loans with the ten features and ``is_late`` (0 or 1).

    ``test`` is the following quarter, or None without its file. ``fingerprint`` is the SHA-256 of the training quarter as CSV:
    the columns of :data:`late_payers.features.COLUMNS`, then ``is_late``; the rows in order, numbers in their shortest form.
    """

    training: pd.DataFrame
    test: pd.DataFrame | None
    source: Source
    fingerprint: str
    description: str


def load(directory: Path = Path("data"), *, say: Callable[[str], object] = print) -> Book:
    """The loans in ``directory``, or the stand-in; ``say`` gets one line that tells which.

    Looks for ``peerLoanData.zip``, ``peerLoanTraining.zip``, then ``peerLoanTraining.csv`` with ``peerLoanTest.csv``.
    Raises :class:`DataError` for a file that exists and cannot be used.
    """
    found = _find(directory)
    if found is None:
        from late_payers.simulation import SEED, stand_in

        say(
            f"data: no original loans in {directory}/; using a simulated stand-in book (seed {SEED}), see data/README.md"
        )
        training, following = stand_in()
        return Book(training, following, "stand-in", fingerprint(training), f"simulated stand-in book, seed {SEED}")
    name, tables = found
    if TRAINING_FILE not in tables:
        raise DataError(f"{name}: has no {TRAINING_FILE}")
    training = read_table(tables[TRAINING_FILE], f"{name}: {TRAINING_FILE}")
    test = read_table(tables[TEST_FILE], f"{name}: {TEST_FILE}") if TEST_FILE in tables else None
    source: Source = "training only" if test is None else "original"
    follows = "without the quarter that follows" if test is None else f"and {len(test):,} of the quarter that follows"
    say(f"data: {len(training):,} original loans of the training quarter from {name}, {follows}")
    return Book(training, test, source, fingerprint(training), f"PeerLoan's original loans, {name}")


def fingerprint(frame: pd.DataFrame) -> str:
    """The fingerprint of a training quarter, as :class:`Book` defines it, in lower-case hex."""
    text = frame[[*COLUMNS, TARGET]].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def _find(directory: Path) -> tuple[str, dict[str, bytes]] | None:
    for name in ARCHIVES:
        if (directory / name).is_file():
            return name, _unzip(directory / name)
    tables = {n: (directory / n).read_bytes() for n in (TRAINING_FILE, TEST_FILE) if (directory / n).is_file()}
    return (str(directory), tables) if tables else None


def _unzip(path: Path) -> dict[str, bytes]:
    tables: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = PurePosixPath(info.filename).name
                hidden = name.startswith("._") or "__MACOSX" in info.filename
                if name not in (TRAINING_FILE, TEST_FILE) or hidden:
                    continue
                if name in tables:
                    raise DataError(f"{path.name}: has {name} twice")
                if info.file_size > MAX_BYTES:
                    raise DataError(f"{path.name}: {name} is larger than {MAX_BYTES} bytes")
                with archive.open(info) as file:
                    tables[name] = file.read(MAX_BYTES + 1)
    except DataError:
        raise
    except Exception as error:  # the library's own, and those of each way to compress: zlib.error, LZMAError
        raise DataError(f"{path.name}: is not a readable zip file ({error})") from None
    return tables


def read_table(content: bytes, where: str) -> pd.DataFrame:
    """A quarter's loans from CSV bytes: the ten features and ``is_late``, in that order.

    The CSV may have further columns and another order, and percentages ("13.1%") in ``int_rate`` and ``revol_util``.
    ``where`` names the table in messages. Raises :class:`DataError`.
    """
    try:
        raw = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=True, skip_blank_lines=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: is not a CSV table ({type(error).__name__})") from None
    raw.columns = [str(column).strip() for column in raw.columns]
    if missing := [column for column in (*COLUMNS, TARGET) if column not in raw.columns]:
        raise DataError(f"{where}: lacks the columns {', '.join(missing)}")
    raw = raw[[*COLUMNS, TARGET]].dropna(how="all").reset_index(drop=True)
    if raw.empty:
        raise DataError(f"{where}: has no rows")
    frame = pd.DataFrame({name: _numbers(raw[name], where) for name in (*NUMBERS, TARGET)})
    for name in CATEGORIES:
        frame[name] = raw[name].str.strip()
    if not frame[TARGET].isin([0, 1]).all():
        raise DataError(f"{where}: {TARGET} must be 0 or 1 in every row")
    frame[TARGET] = frame[TARGET].astype("int64")
    return frame[[*COLUMNS, TARGET]]


def _numbers(column: pd.Series, where: str) -> pd.Series:
    values = []
    for row, text in enumerate(column.tolist()):
        try:
            values.append(_number(text))
        except ValueError:
            raise DataError(f"{where}: {column.name} must be a number; row {row + 2} is not") from None
    return pd.Series(values, dtype="float64")


def _number(text: object) -> float:
    """The number in a cell, correctly rounded, which pandas' fast parser is not; raises :class:`ValueError`."""
    if not isinstance(text, str) or not text.strip():
        return float("nan")
    text = text.strip()
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError
    return value
