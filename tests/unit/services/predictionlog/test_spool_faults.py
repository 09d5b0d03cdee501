"""Every system call of a spool fails, once and then for good: what was acknowledged is shipped, without a restart."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from services.predictionlog import spool
from tests.unit.services.predictionlog.failing import FailingCalls

WHOLE = re.compile(rb"\[[0-9]+\]\n")
KINDS = [(False, False), (True, False), (False, True), (True, True)]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def ship(root: Path) -> list[bytes]:
    """What a shipper finds and takes, once."""
    found: list[bytes] = []
    for path in spool.segments(root):
        found.extend(spool.lines(path))
        path.unlink()
    return found


class Worker:
    """A worker's prediction log: begins, begins again where the disk does not let it, and appends lines."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writer: spool.Writer | None = None
        self.acknowledged: list[bytes] = []
        self.number = 0

    def append(self) -> None:
        line = b"[%d]\n" % self.number
        self.number += 1
        try:
            self.writer = self.writer or spool.Writer(self.root, 1 << 30)
            self.writer.append(line)
        except OSError:
            return
        self.acknowledged.append(line)

    def turn(self) -> None:
        if self.writer is not None:
            try:
                self.writer.turn()
            except OSError:
                return


def test_no_inodes_for_a_while_strand_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The segment before goes on until the next one is open; then it is closed and shipped while its writer lives."""
    writer = spool.Writer(tmp_path, 1 << 30)
    written = [b"[%d]\n" % number for number in range(9)]
    shipped: list[bytes] = []
    opened = os.open

    def full(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, flags, *mode)

    for number, line in enumerate(written):
        with monkeypatch.context() as disk:
            if 3 <= number < 6:
                disk.setattr(os, "open", full)
                writer.append(line)
                with pytest.raises(OSError, match="No space"):
                    writer.turn()
            else:
                writer.append(line)
                writer.turn()
        shipped += ship(tmp_path)
    assert shipped == written
    assert spool.oldest(tmp_path) is None
    writer.close()


@pytest.mark.attack("full disk")
@pytest.mark.parametrize(("for_good", "torn"), KINDS)
def test_whatever_call_fails_all_that_was_acknowledged_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool, torn: bool, record_property: Any
) -> None:
    """As it was, once, without a restart; a new line is taken at once; no descriptor and no directory is left behind."""
    fails, left = 1, -1
    while left < 0:
        root = tmp_path / str(fails)
        with monkeypatch.context() as patch:
            calls = FailingCalls(patch, fails, for_good=for_good, torn=torn)
            before = descriptors()
            worker = Worker(root)
            calls.on = True
            for _ in range(3):
                worker.append()
                worker.append()
                worker.turn()
                with suppress(OSError):
                    spool.adopt(root)
            calls.on = False
            acknowledged = len(worker.acknowledged)
            worker.append()
            assert len(worker.acknowledged) == acknowledged + 1, f"call {fails}: no line is taken"
            worker.turn()
            worker.turn()
            shipped = ship(root)
            assert set(worker.acknowledged) <= set(shipped), f"call {fails}: a line is stranded"
            assert worker.writer is not None
            worker.writer.close()
            spool.adopt(root)
            assert ship(root) == []
            spool.adopt(root)
        times = Counter(shipped)
        assert {times[line] for line in worker.acknowledged} == {1}
        assert all(WHOLE.fullmatch(line) for line in shipped), f"call {fails}: a part of a line is taken for one"
        assert max(times.values()) == 1
        assert list(root.iterdir()) == [], f"call {fails}: something is left"
        assert descriptors() == before, f"call {fails}: a descriptor is left"
        left = fails - calls.count - 1
        fails += 1
    assert fails > 40
    record_property("sent", fails - 2)
