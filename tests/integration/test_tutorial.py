"""The tutorial's commands, in its order, as a reader types them: from a quarter's outcomes to a promoted model."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.examples import blocks
from tests.integration.system import ROOT, ask, free_port, until

TUTORIAL = ROOT / "docs" / "tutorial.md"
OWN = ("run", "models", "data", ".git")  # what the commands write into, or need not
SHIPPED = "late-payers.bundle"


class Reader:
    """A directory with the project's files, where the commands are run."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        for path in ROOT.iterdir():
            if path.name not in OWN:
                (root / path.name).symlink_to(path)
        (root / "data").mkdir()
        for path in (ROOT / "data").glob("*.*"):
            if path.suffix in (".py", ".json"):
                (root / "data" / path.name).symlink_to(path)
        (root / "models").mkdir()
        shutil.copy(ROOT / "models" / SHIPPED, root / "models")
        shim = root / "bin" / "make"  # the interpreter that runs the tests has all that the targets would install
        shim.parent.mkdir()
        stamps = " ".join(f"-o {sys.prefix}/{name}" for name in ("made", "serving", "scoring", "development"))
        shim.write_text(f'#!/bin/sh\nexec {shutil.which("make")} VENV={sys.prefix} {stamps} "$@"\n', "utf-8")
        shim.chmod(0o755)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MODEL", "CHALLENGER_", "DATA_", "MAKE"))
        }
        path = f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {
            **kept,
            "PATH": path,
            "PORT": str(self.port),
            "MONITOR_SECONDS": "1",
            "PYTHONPATH": str(root),
        }

    def shell(self, block: str) -> str:
        """Run a block; returns what it printed."""
        script = block.replace(":5000", f":{self.port}").replace(".venv/bin/python", sys.executable)
        done = subprocess.run(
            ["sh", "-ec", script], cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.root / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def report(self, block: str) -> None:
        """Send outcomes, again while some wait, as the tutorial says."""

        def sent() -> bool:
            self.shell(block)
            return {row["status"] for row in self.rows("reported.csv")} <= {"recorded", "repeated"}

        until(sent, 120, "no outcome waits")

    def challenger(self) -> dict[str, Any]:
        """What ``/readyz`` says of it."""
        found: dict[str, Any] = json.loads(ask(self.port, "GET", "/readyz")[2])["challenger"] or {}
        return found

    def evidence(self) -> dict[str, Any]:
        return self.challenger().get("evidence") or {"rows": 0}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """After ``make run``, the first of the commands."""
    reader = Reader(tmp_path)
    run = subprocess.Popen(
        ["make", "run"], cwd=reader.root, env=reader.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: ask(reader.port, "GET", "/readyz")[0] == 200, 60, "make run is ready")
        yield reader
    finally:
        os.killpg(run.pid, 2)
        run.wait(30)


@pytest.mark.slow
def test_the_whole_way(reader: Reader) -> None:
    """Each block does what the text says."""
    first, quarter, report, better, challenge, share, outcomes, more, promote, record = blocks(TUTORIAL, "sh")
    assert first.strip() == "make run"
    reader.shell(quarter)
    assert len(reader.rows("scored.csv")) == 12_000
    reader.report(report)
    assert "12,000 rows, 12,000 with an outcome, 159 of these positive" in reader.shell(report)
    assert len(reader.rows("reported.csv")) == 12_000
    assert "intercept fitted on 8,000 older outcomes" in reader.shell(better)
    assert (reader.root / "run" / "comparison.html").exists()
    assert "is scored silently" in reader.shell(challenge)
    assert "answers 10 % of the records" in reader.shell(share)
    champion = reader.rows("scored.csv")[0]["model_version"]

    until(lambda: reader.challenger().get("scored") == 12_000, 180, "the fourth quarter is scored beside")
    reader.report(outcomes)
    until(lambda: reader.evidence()["rows"] == 12_000, 180, "the evidence of the fourth quarter is known")
    refused = subprocess.run(
        ["make", "promote"], cwd=reader.root, env=reader.environment, capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert "20 is asked for; at this rate about" in refused.stderr
    reader.shell(more)
    reader.report(more.strip().splitlines()[-1])
    answered = Counter(row["model_version"] for row in reader.rows("scored.csv"))
    assert len(answered) == 2
    assert 0.09 < 1 - answered[champion] / 48_000 < 0.11
    both = 12_000 + answered[champion]
    until(lambda: reader.evidence()["rows"] == both, 180, "the evidence of the first quarter is known")
    until(lambda: reader.evidence()["challenger"] >= 20, 60, "there is enough evidence")
    assert "answers with recalibrated.bundle" in reader.shell(promote)
    kinds = [json.loads(line)["kind"] for line in reader.shell(record).splitlines()]
    assert {"switch", "deployment"} <= set(kinds)
