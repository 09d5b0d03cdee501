"""``python -m notices ID | --list FILE.csv  --action TEXT [--to DIRECTORY]``: letters of adverse action.

ID is a prediction id, a request id or the caller's own id, and must name one prediction. The list is a CSV file with the column
``id`` and, where wanted, ``recipient`` (name and address; it may have several lines) and ``action``. Each letter is written as
``<prediction id>.txt`` and ``.html``, for their owner only, and recorded as an event.

The creditor is in CREDITOR_FILE (creditor.toml), a template of the lender's own in NOTICE_TEMPLATE. The log is
PREDICTION_LOG_URL, or the SQLite file of DATA_DIR (run/data).
Exit codes: 0 all were written; 1 some not, and it says which and why; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import csv
import getpass
import os
import re
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from notices.letter import Creditor, Letters, NoNotice
from services.places import bundle_directories
from services.predictionlog import audit
from services.predictionlog.__main__ import existing_log

COLUMNS = ("id", "recipient", "action")


def wanted(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a list, by column; raises :class:`NoNotice`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            columns = lines.fieldnames or []
            if "id" not in columns or set(columns) - set(COLUMNS) or len(columns) > len(set(columns)):
                raise NoNotice(f"{path} must have the column id, and may have recipient and action, each once")
            for line in lines:
                if None in line or None in line.values():
                    raise NoNotice(f"{path}, line {lines.line_num}: it must have {len(columns)} fields")
                yield line
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NoNotice(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def one(engine: sa.Engine, own: str) -> dict[str, Any]:
    """The one prediction with this id; raises :class:`NoNotice`."""
    found = audit.find(engine, own)
    if not found:
        raise NoNotice("no prediction has this id")
    if len(found) > 1:
        latest = ", ".join(f"{each['prediction_id']} ({each['time']})" for each in found[-3:])
        raise NoNotice(f"{len(found)} predictions have this id; say which by its prediction id: {latest}")
    return found[0]


def save(directory: Path, name: str, kind: str, content: str) -> None:
    """Write one letter for its owner only, whole or not at all; raises :class:`OSError`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{name}.{kind}"
    unfinished = path.with_name(f".{path.name}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def write(engine: sa.Engine, letters: Letters, line: dict[str, str], options: argparse.Namespace) -> None:
    """One letter; raises :class:`NoNotice`, :class:`OSError` and SQLAlchemy's errors."""
    found = one(engine, line["id"])
    name = found["prediction_id"]
    if not re.fullmatch(r"[\w-]{1,100}", name, re.ASCII):
        raise NoNotice("its prediction id is no file name")
    action = line.get("action") or options.action
    letter = letters.compose(found, action, options.date, line.get("recipient", ""))
    save(options.to, name, "txt", letter.text)
    save(options.to, name, "html", letter.html)
    reasons = [reason["feature"] for reason in found["reasons"]]
    with engine.begin() as connection:
        audit.note_letter(connection, name, reasons, getpass.getuser())


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m notices", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="a prediction id, a request id, or the caller's own id")
    which.add_argument("--list", type=Path, help="a CSV file: id, and where wanted recipient and action")
    parser.add_argument("--action", default="", help="what was done, in a sentence for the borrower")
    parser.add_argument("--recipient", default="", help="the borrower's name and address")
    parser.add_argument("--date", type=date.fromisoformat, default=date.today(), help="the letter's date (today)")
    parser.add_argument("--to", type=Path, default=Path("letters"), help="the directory of the letters (letters)")
    options = parser.parse_args(arguments)
    own = os.environ.get("NOTICE_TEMPLATE")
    failed = written = 0
    try:
        creditor = Creditor.read(Path(os.environ.get("CREDITOR_FILE") or "creditor.toml"))
        letters = Letters(bundle_directories(), creditor, Path(own) if own else None)
        engine = existing_log()
        lines = list(wanted(options.list)) if options.list else [{"id": options.id, "recipient": options.recipient}]
        for line in lines:
            try:
                write(engine, letters, line, options)
                written += 1
            except NoNotice as error:
                failed += 1
                print(f"{line['id'][:100]}: {error}", file=sys.stderr)
    except (NoNotice, audit.NotFound, SQLAlchemyError, OSError) as error:
        said = type(error).__name__ if isinstance(error, SQLAlchemyError) else error
        print(f"notices: {said}", file=sys.stderr)
        failed += 1
    print(f"letters written to {options.to}, and recorded: {written}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
