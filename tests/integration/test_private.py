"""What borrowers sent can be read by the service's own user alone, whatever the umask, and is nowhere but where it belongs."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOAN, Made
from tests.integration.system import BESIDE, System, children, until
from tests.integration.test_challenger import challenge, reaches, said

NAME = "Zaphod-Beeblebrox"  # of a borrower, typed into the wrong field


def open_to_others(*roots: Path) -> list[str]:
    """The files and directories that another user could use."""
    found = []
    for root in roots:
        for path in (root, *root.rglob("*")):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                found.append(f"{path.relative_to(root.parent)} {stat.filemode(mode)}")
    return found


@pytest.mark.attack("other users")
@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_no_file_is_for_another_user(
    system: System, bundles: list[Made], umask: int, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """State, spool, log, challenger and monitoring, while they work and after the end; also what an earlier version left open.
    No process would write its memory down, and the directory for temporary files has nothing of a borrower."""
    data, temporary = system.root / "data", system.root / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    system.environment |= {"MONITOR_SECONDS": "1"}
    (data / "spool" / "old").mkdir(parents=True)
    (data / "monitor.json").write_text("{}", "utf-8")
    (data / "mine.txt").write_text("not the service's", "utf-8")
    (data / "mine.txt").chmod(0o644)
    sqlite3.connect(data / "predictions.sqlite").close()
    before = os.umask(umask)
    try:
        system.start_model()
        system.start_predict()
    finally:
        os.umask(before)
    champion, other = bundles[:2]
    challenge(system, champion, other.path.name, other.path.read_bytes())
    reaches(system, "scoring", other.sha256)
    system.post([{**LOAN, "purpose": NAME}] * 20)
    until(lambda: len(said(system)) == 20, 30, "all are scored")
    until(lambda: b"computed" in (data / "monitor.json").read_bytes(), 30, "the monitor wrote")
    assert system.predict is not None
    processes = {system.predict.pid, *children(system.predict.pid), *(p for n in BESIDE for p in system.called(n))}
    assert len(processes) > 4
    for pid in processes:
        limits = Path(f"/proc/{pid}/limits").read_text("utf-8").splitlines()
        (cores,) = (line.split()[4] for line in limits if line.startswith("Max core file size"))
        assert cores in ("0", "1"), "a crash would write the memory down"
    (data / "mine.txt").unlink()
    places = (system.state, data)
    record_property("sent", sum(len([*place.rglob("*")]) for place in places))
    assert open_to_others(*places) == []
    system.stop_predict()
    assert open_to_others(*places) == []
    assert [path for path in temporary.rglob("*") if path.is_file() and NAME.encode() in path.read_bytes()] == []
