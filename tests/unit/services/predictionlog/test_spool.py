"""The spool's files: how many there are, and what is durable when."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.predictionlog import spool


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[spool.Writer]:
    writer = spool.Writer(tmp_path, max_bytes=1 << 30)
    yield writer
    writer.close()


def files(writer: spool.Writer) -> list[Path]:
    return [path for path in sorted(writer.directory.iterdir()) if path.name != spool.LOCK]


def test_however_long_nobody_ships_there_are_few_files_and_all_of_them_are_durable(
    writer: spool.Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes' turns leave five files, not 600; what a turn finds is durable when it ends; all of it comes out."""
    durable: dict[int, int] = {}
    monkeypatch.setattr(os, "fsync", lambda d: durable.__setitem__(os.fstat(d).st_ino, os.fstat(d).st_size))
    written = [b"%d\n" % number for number in range(600)]
    for line in written:
        writer.append(line)
        writer.turn()
        assert sum(durable.values()) == sum(spool.CHECKSUM + len(one) for one in written[: int(line) + 1])
    assert len(files(writer)) == spool.FEW + 1
    for _ in range(2):  # the shipper is back, and nothing more is asked
        shipped = spool.segments(writer.root)
        written = written[sum(len(list(spool.lines(path))) for path in shipped) :]
        for path in shipped:
            path.unlink()
        writer.turn()
    assert written == []
    assert spool.oldest(writer.root) is None


def test_a_large_segment_is_closed_whoever_waits(writer: spool.Writer) -> None:
    """So that none holds more than one turn's rows beyond a bound: the shipper reads them one by one."""
    line = bytes(spool.LARGE // 8 - 1 - spool.CHECKSUM) + b"\n"
    for _ in range(spool.FEW):
        writer.append(b"small\n")
        writer.turn()
    for _ in range(16):
        writer.append(line)
        writer.turn()
    sizes = [path.stat().st_size for path in files(writer)]
    assert sizes == [6 + spool.CHECKSUM] * spool.FEW + [spool.LARGE] * 2 + [0]


def test_what_the_disk_takes_only_a_part_of_leaves_no_trace(
    writer: spool.Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of a line: that line was not logged, and those before and after it are whole."""
    writev = os.writev
    writer.append(b"[before]\n")
    with monkeypatch.context() as full:
        full.setattr(os, "writev", lambda descriptor, parts: writev(descriptor, [*parts[:1], parts[1][:3]]))
        with pytest.raises(OSError, match="No space left"):
            writer.append(b"[torn, in two]\n")
    writer.append(b"[after]\n")
    writer.turn()
    assert [*spool.lines(files(writer)[0])] == [b"[before]\n", b"[after]\n"]
    assert len([*spool.raw_lines(files(writer)[0])]) == 2


def test_a_line_that_was_changed_is_known_and_those_of_older_versions_are_read(writer: spool.Writer) -> None:
    """Whichever byte it is: a line is what was appended, or it is none. Without a checksum there is nothing to compare with."""
    line = b'[2,1.0,"a number that is still a number",10000.0]\n'
    writer.append(line)
    writer.turn()
    (path,) = files(writer)[:1]
    raw = path.read_bytes()
    assert [*spool.lines(path)] == [line]
    for at in range(len(raw) - 1):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :] + line)
        assert [*spool.lines(path)] == [line], f"byte {at}"


def test_a_writer_is_not_taken_for_one_that_has_ended_while_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipper may look after its lock is there, and before it is held."""
    lock, born = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        if not born:
            born.extend(tmp_path.iterdir())
            spool.adopt(tmp_path)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    writer = spool.Writer(tmp_path, max_bytes=1 << 30)
    assert not born[0].exists()
    writer.append(b"line\n")
    writer.close()
    spool.adopt(tmp_path)
    assert [list(spool.lines(path)) for path in spool.segments(tmp_path)] == [[b"line\n"]]


def test_a_directory_with_something_else_in_it_stays(tmp_path: Path) -> None:
    """A damaged segment is kept for a person; that its writer has ended is nothing to complain of."""
    writer = spool.Writer(tmp_path, max_bytes=1 << 30)
    (writer.directory / "1.damaged").write_bytes(b"?\n")
    writer.append(b"line\n")
    writer.close()
    for path in spool.segments(writer.root):
        path.unlink()
    spool.adopt(writer.root)
    assert [path.name for path in writer.directory.iterdir()] == ["1.damaged"]


def test_a_writer_that_leaves_while_files_are_listed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory is there when the spool is listed, and gone when it is looked into: `/metrics` answered 500 for it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"1{spool.CLOSED}").write_bytes(b"line\n")
    real = Path.iterdir

    def leaves(path: Path) -> Iterator[Path]:
        if path.name == "a" and path.exists():
            shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(Path, "iterdir", leaves)
    assert spool.segments(tmp_path) == [tmp_path / "b" / f"1{spool.CLOSED}"]
    assert spool.size(tmp_path) == 5
    assert spool.waiting(tmp_path) == {"b/1"}
    assert not spool.abandoned(tmp_path)
    assert spool.size(tmp_path / "missing") == 0
