"""Faults, one at a time, against real processes: what is expected of each, and that it heals without a restart.

Those of starts and kills are in ``test_restart.py``, of bad models in ``test_swap.py``, of containers in ``tests/e2e``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LOAN, Made
from tests.integration.gate import Gate
from tests.integration.system import Load, System, until


@pytest.fixture
def gate(system: System) -> Iterator[Gate]:
    gate = Gate(system.model_port)
    system.environment["MODEL_SERVER_URL"] = f"http://127.0.0.1:{gate.port}"
    yield gate
    gate.close()


@pytest.fixture
def gated(gate: Gate, system: System, bundles: list[Made]) -> System:
    """Both services run with the gate between them; the first bundle answers, and mischief will be done to the second."""
    gate.sha256 = bundles[1].sha256
    system.start_model()
    system.start_predict()
    return system


def pin(system: System, made: Made) -> None:
    system.pin(made.path.name, made.sha256)


def leader(system: System) -> int:
    return int(json.loads((system.state / "status.json").read_text("utf-8"))["leader"])


def trouble(system: System, words: str) -> None:
    """Wait until /readyz names the trouble; the first model answers, ready, meanwhile."""
    until(lambda: words in (system.readyz()[1]["trouble"] or ""), 20, f"trouble: {words}")
    assert system.readyz()[0] == 200
    assert system.readyz()[1]["generation"] == 1
    assert system.post(LOAN)[0] == 200


def test_the_leader_is_killed_in_the_middle_of_a_download(gated: System, gate: Gate, bundles: list[Made]) -> None:
    """The other worker leads and downloads anew; half a file never gets a model's name; nothing else fails."""
    gate.mischief = "hold"
    pin(gated, bundles[1])
    assert gate.holding.wait(20)
    begun = until(
        lambda: [p.name for p in (gated.state / "bundles").iterdir() if bundles[1].sha256 in p.name], 10, "half a file"
    )
    assert begun == [f".{bundles[1].sha256}.part"]
    gate.mischief = None
    os.kill(leader(gated), signal.SIGKILL)
    gated.serving(bundles[1].sha256)
    assert gate.downloads == 2
    assert [p.name for p in (gated.state / "bundles").iterdir() if p.name.endswith(".part")] == []


@pytest.mark.slow
def test_a_damaged_download_is_tried_again(system: System, gate: Gate, bundles: list[Made]) -> None:
    """Cut short, a bit flipped, or never ending: named at /readyz, not refused; the next good one is taken."""
    system.environment["FETCH_SECONDS"] = "1"
    system.start_model()
    system.start_predict()
    with Load(system.port, LOAN, clients=2) as load:
        for turn, (mischief, words) in enumerate((("cut", "broke off"), ("flip", "hash to"), ("hold", "broke off"))):
            made = bundles[(turn + 1) % 2]
            (system.state / "bundles" / made.sha256).unlink(missing_ok=True)  # of an earlier turn: it must be fetched
            gate.sha256, gate.mischief, gate.downloads = made.sha256, mischief, 0
            gate.opened.clear()
            pin(system, made)
            until(lambda words=words: words in (system.readyz()[1]["trouble"] or ""), 20, words)
            until(lambda: gate.downloads >= 2, 20, "it is tried again")
            assert system.readyz()[1]["refusal"] is None
            gate.mischief = None
            gate.opened.set()
            system.serving(made.sha256)
    assert load.failed() == []
    assert load.stale() == []
    assert {a.generation for a in load.answers} == {1, 2, 3, 4}


def test_a_bundle_that_is_too_large_is_not_taken(system: System, bundles: list[Made]) -> None:
    """Said with the limit; what answers goes on, and a smaller one is taken."""
    system.environment["MAX_BUNDLE_BYTES"] = str(max(made.path.stat().st_size for made in bundles))
    system.start_model()
    system.start_predict()
    large = bundles[1].path.read_bytes() + bytes(100_000)
    (system.models / "large.bundle").write_bytes(large)
    system.pin("large.bundle", hashlib.sha256(large).hexdigest())
    trouble(system, f"larger than {system.environment['MAX_BUNDLE_BYTES']} bytes")
    pin(system, bundles[1])
    system.serving(bundles[1].sha256)


@pytest.mark.slow
def test_a_pin_that_comes_and_goes_while_it_is_fetched_never_answers(
    gated: System, gate: Gate, bundles: list[Made]
) -> None:
    """A, B, A in quick succession: B's bytes are here, and not one answer is B's; B again is another generation."""
    gate.mischief = "hold"
    with Load(gated.port, LOAN, clients=2) as load:
        pin(gated, bundles[1])
        assert gate.holding.wait(20)
        pin(gated, bundles[0])
        gated.pinned(bundles[0].sha256)
        gate.mischief = None
        gate.opened.set()
        gated.serving(bundles[0].sha256)
        assert gated.readyz()[1]["generation"] == 1
        pin(gated, bundles[1])
        gated.serving(bundles[1].sha256)
    assert load.failed() == []
    assert {(a.generation, a.version) for a in load.answers} == {(1, bundles[0].sha256), (2, bundles[1].sha256)}


@pytest.mark.parametrize("who", ["another", "leader"])
def test_a_worker_dies_while_it_prepares(serving: System, bundles: list[Made], who: str) -> None:
    """Nobody waits for the dead: the others' votes decide, or the next leader begins anew; the new worker has the new model."""
    with (serving.state / "turn.lock").open("w", encoding="utf-8") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # no worker's turn comes
        pin(serving, bundles[1])
        until(lambda: (serving.state / "candidate.json").exists(), 20, "it is being prepared")
        leading = leader(serving)
        others = [pid for pid in serving.workers() if pid != leading]
        os.kill(leading if who == "leader" else others[0], signal.SIGKILL)
        assert serving.readyz()[1]["generation"] == 1
    serving.serving(bundles[1].sha256)
    until(lambda: len(serving.workers()) == 2, 20, "two workers again")
    assert serving.readyz()[1]["refusal"] is None
    assert serving.readyz()[1]["generation"] == 2


@pytest.fixture
def small_disk(system: System) -> Iterator[Path]:
    """STATE_DIR on a file system of its own that is soon full."""
    system.state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "state", str(system.state)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield system.state
    system.close()
    subprocess.run(["umount", str(system.state)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_model_answering(system: System, small_disk: Path, bundles: list[Made]) -> None:
    """No room for the new model, then for nothing at all while the workers are killed: others take their place and answer, though
    there is no room for them in the roster; with room, the pin is reached."""
    system.start_model()
    system.start_predict()
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 32_768))
    pin(system, bundles[1])
    trouble(system, "No space left")
    with (small_disk / "rest").open("wb", buffering=0) as rest, pytest.raises(OSError):
        while True:
            rest.write(bytes(4096))
    used = os.statvfs(small_disk)
    remount(small_disk, f"nr_inodes={used.f_files - used.f_ffree}")
    for old in system.workers():
        before = set(system.workers())
        os.kill(old, signal.SIGKILL)
        until(lambda old=old: old not in (now := system.workers()) and len(now) == 2, 60, "another worker")
        (new,) = set(system.workers()) - before
        until(lambda new=new: any(e["pid"] == new for e in system.log("worker failed")), 60, "it has no seat")
    assert system.post(LOAN)[0] == 200
    remount(small_disk, "nr_inodes=0")
    (small_disk / "rest").unlink()
    (small_disk / "filler").unlink()
    system.serving(bundles[1].sha256)
    assert system.predict is not None
    assert system.predict.poll() is None


JUMPING = """
import time
real, offset = time.time, {path!r}
def jumping():
    try:
        with open(offset) as file:
            return real() + float(file.read())
    except (OSError, ValueError):
        return real()
time.time = jumping
"""


@pytest.mark.slow
def test_a_clock_that_jumps_does_not_matter(system: System, bundles: list[Made], tmp_path: Path) -> None:
    """More than a year back, or ahead, between two looks: still confirmed, still ready, and the next pin is reached."""
    offset = tmp_path / "offset"
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPING.format(path=str(offset)), "utf-8")
    system.environment["PYTHONPATH"] = str(tmp_path / "clock")
    system.start_model()
    system.start_predict()
    with Load(system.port, LOAN, clients=2) as load:
        for turn, days in enumerate((-400, 400, 0)):
            before = system.readyz()[1]["checked"]
            offset.write_text(str(86400.0 * days), "utf-8")
            assert standing(system) == (True, True, None)
            until(lambda before=before: system.readyz()[1]["checked"][:4] != before[:4], 20, "a look after the jump")
            assert standing(system) == (True, True, None)
            made = bundles[(turn + 1) % 2]
            pin(system, made)
            system.serving(made.sha256)
    assert load.failed() == []
    assert {a.generation for a in load.answers} == {1, 2, 3, 4}


def standing(system: System) -> tuple[bool, bool, str | None]:
    facts = system.readyz()[1]
    return facts["ready"], facts["confirmed"], facts["trouble"]
