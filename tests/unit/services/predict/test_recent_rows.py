"""The last inputs of the log: of the spool and of the database, each row once, within a limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelbundle.format import bundle
from services.predict.recent_rows import recent
from services.predictionlog import event
from services.predictionlog.spool import OPEN, Writer
from tests.conftest import LOAN, Made
from tests.unit.services.logs import NOW, Written, logged


def line(made: Made, own: str, amount: float) -> bytes:
    """A row of the spool."""
    model = bundle.read(made.path)
    row = {**LOAN, "amount": amount}
    answer = model.answer([row[name] for name in model.schema.names], prediction_id=own)
    return logged({name: [row[name]] for name in model.schema.names}, [answer])


def amounts(root: Path, url: str, rows: int) -> list[float]:
    return [json.loads(content)["amount"] for content in recent(root, url, rows)]


def test_rows_that_wait_come_before_those_of_the_database(bundles: list[Made], tmp_path: Path) -> None:
    """The newest of each first; at most as many as asked for."""
    log = Written(tmp_path)
    model = bundle.read(bundles[0].path)
    for at, amount in ((NOW - 20, 2000.0), (NOW - 10, 3000.0)):
        log.add(model, bundles[0].frame.head(1).assign(amount=amount), at)
    writer = Writer(tmp_path / "spool", 1 << 20)
    writer.append(line(bundles[0], "a", 7000.0))
    try:
        assert amounts(tmp_path / "spool", log.url, 10) == [7000.0, 3000.0, 2000.0]
        assert amounts(tmp_path / "spool", log.url, 2) == [7000.0, 3000.0]
        assert amounts(tmp_path / "spool", log.url, 1) == [7000.0]
    finally:
        writer.close()


def test_a_row_that_is_shipped_meanwhile_counts_once(bundles: list[Made], tmp_path: Path) -> None:
    """It is in the spool and in the database then."""
    log = Written(tmp_path)
    writer = Writer(tmp_path / "spool", 1 << 20)
    try:
        own = log.add(bundle.read(bundles[0].path), bundles[0].frame.head(1))[0]["prediction_id"]
        writer.append(line(bundles[0], own, 7000.0), line(bundles[0], "other", 8000.0))
        assert sorted(amounts(tmp_path / "spool", log.url, 10)) == [7000.0, 8000.0]
    finally:
        writer.close()


def test_events_and_damaged_lines_are_left_out(bundles: list[Made], tmp_path: Path) -> None:
    """A line that is being written too, and segments of writers that have died."""
    folder = tmp_path / "spool" / "dead"
    folder.mkdir(parents=True)
    note = event.encode("1", event.SWITCH, NOW, {"a": 1})
    content = b"".join([note, b"[2,damaged]\n", line(bundles[0], "a", 7000.0), b"[2, 1.0, hal"])
    (folder / f"000000000001{OPEN}").write_bytes(content)
    assert amounts(tmp_path / "spool", Written(tmp_path).url, 10) == [7000.0]


def ask(root: Path, url: str) -> list[Any]:
    command = [sys.executable, "-m", "services.predict.recent_rows", str(root), "10"]
    environment = {**os.environ, "PREDICTION_LOG_URL": url}
    found = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    assert found.stderr == b""
    return [json.loads(content) for content in found.stdout.splitlines()]


def test_before_the_first_row_there_is_none_and_no_trouble(tmp_path: Path) -> None:
    """Neither the spool nor the tables are there yet."""
    assert ask(tmp_path / "spool", f"sqlite:///{tmp_path / 'new.sqlite'}") == [["end", ""]]


@pytest.mark.parametrize("url", ["sqlite:////does/not/exist.sqlite", "postgresql://nobody@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_read_is_said_after_the_rows_that_wait(
    bundles: list[Made], tmp_path: Path, url: str
) -> None:
    """Without its address or its message, which may hold secrets or rows."""
    writer = Writer(tmp_path / "spool", 1 << 20)
    try:
        writer.append(line(bundles[0], "a", 7000.0))
        row, (mark, trouble) = ask(tmp_path / "spool", url)
    finally:
        writer.close()
    assert (row["amount"], mark) == (7000.0, "end")
    assert trouble.startswith("the log cannot be read (OperationalError")
