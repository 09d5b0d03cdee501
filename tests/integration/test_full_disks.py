"""A disk without room or without inodes, really: answers go on, ``/readyz`` names it, and with room all is right by itself."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from services.predictionlog import spool
from tests.conftest import LOAN, Made
from tests.integration.system import System, ask, until
from tests.integration.test_faults import pin, remount
from tests.integration.test_predictionlog import Asking, database, logged, settled

SIZE = "128m"  # what is asked meanwhile must fit when the harm is over
HEALED = 30.0  # seconds; it takes less than ten, but not on every machine


@pytest.fixture(params=["STATE_DIR", "DATA_DIR"])
def disk(request: pytest.FixtureRequest, system: System) -> Iterator[tuple[str, Path]]:
    """One of the directories on a file system of its own, with its name."""
    path = system.state if request.param == "STATE_DIR" else system.root / "data"
    path.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "small", str(path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield request.param, path
    system.close()
    subprocess.run(["umount", "--lazy", str(path)], check=True)  # a connection to the database may be open here


@contextmanager
def no_room(disk: Path) -> Iterator[str]:
    """Not a byte."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    yield "No space left on device"
    (disk / "filler").unlink()


@contextmanager
def no_inodes(disk: Path) -> Iterator[str]:
    """No new file, but room in those that are there."""
    for _ in range(20):
        used = os.statvfs(disk)
        with suppress(subprocess.CalledProcessError):  # a file was made meanwhile
            remount(disk, f"nr_inodes={used.f_files - used.f_ffree}")
            break
    else:
        pytest.fail("the number of files does not stay as it is for a moment")
    yield "No inodes left on device"
    remount(disk, "nr_inodes=0")


def unlogged(system: System) -> int:
    lines = ask(system.port, "GET", "/metrics")[2].decode().splitlines()
    return int(sum(float(line.split()[1]) for line in lines if line.startswith("peerloan_predictions_unlogged_total")))


@pytest.mark.slow
@pytest.mark.attack("full disk")
@pytest.mark.parametrize("harm", [no_room, no_inodes])
def test_a_full_disk_stops_no_answer_and_heals(
    system: System,
    disk: tuple[str, Path],
    bundles: list[Made],
    harm: Callable[[Path], Any],
    record_property: Any,
) -> None:
    """With a swap in the middle of it. Nothing that was appended is lost; what was not is counted."""
    name, path = disk
    system.start_model()
    system.start_predict()
    with Asking(system.port, clients=2) as asking:
        until(lambda: len(asking.ids) > 20, 30, "answers")
        with harm(path) as words:
            pin(system, bundles[1])
            until(lambda: f"{name}: {words}" in (system.readyz()[1]["trouble"] or ""), 20, "it is named")
            if name == "DATA_DIR":
                system.serving(bundles[1].sha256)  # the swap needs no room there
            before = len(asking.ids)
            until(lambda: len(asking.ids) > before + 50, 30, "answers go on")
            assert system.readyz()[0] == 200
        began = time.monotonic()
        until(lambda: system.readyz()[1]["serving"] == bundles[1].sha256, HEALED, "the pin is reached")
        until(lambda: system.readyz()[1]["trouble"] is None, HEALED, "no trouble is left")
        fresh = system.post(LOAN)[2]["prediction_id"]
        until(lambda: fresh in logged(database(system)), HEALED, "a new row arrives")
        record_property("came", f"{time.monotonic() - began:.1f} s")
    assert asking.failed == 0
    until(lambda: settled(system), HEALED, "the spool is empty")
    found = logged(database(system))
    assert set(found.values()) == {1}
    assert len(set(asking.ids) - set(found)) <= unlogged(system)
    assert spool.named(system.root / "data" / "spool", ".damaged") == []
    if name == "STATE_DIR":
        assert unlogged(system) == 0
