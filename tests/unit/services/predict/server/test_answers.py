"""An answer is sent without waiting, and what is not read at once is kept in order."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from services.predict.server import answers
from services.predict.server.answers import IN_MEMORY, LARGE, BufferedSocket, UnsentBytes

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Counting:
    """A socket that notes what it is told to send."""

    def __init__(self, own: socket.socket) -> None:
        self.own = own
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> int:
        """Note it, and send it."""
        self.sent.append(data)
        return self.own.send(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self.own, name)


@pytest.fixture
def pair() -> Iterator[tuple[Counting, socket.socket]]:
    """A socket to answer on, and its other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield Counting(ours), theirs


def test_head_and_body_leave_together(pair: tuple[Counting, socket.socket]) -> None:
    """What follows them leaves at once, and all of it in order."""
    ours, theirs = pair
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    assert ours.sent == []
    for part in (b"one", b"two"):
        buffered.sendall(part)
    buffered.flush()
    assert ours.sent == [HEAD + b"one", b"two"]
    assert theirs.recv(100) == HEAD + b"onetwo"


def test_an_answer_without_a_body_is_sent_once(pair: tuple[Counting, socket.socket]) -> None:
    """304, 204 and HEAD have a head alone."""
    ours, _ = pair
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    buffered.flush()
    buffered.flush()
    assert ours.sent == [HEAD]


def test_a_large_body_is_not_copied(pair: tuple[Counting, socket.socket]) -> None:
    """It follows its head."""
    ours, _ = pair
    body = bytes(LARGE)
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    buffered.sendall(body)
    assert ours.sent[0] == HEAD
    assert ours.sent[1] is body


def test_a_file_follows_its_head(pair: tuple[Counting, socket.socket], tmp_path: Path) -> None:
    """Whatever else is asked of the socket is its own answer."""
    ours, theirs = pair
    (tmp_path / "body").write_bytes(b"body")
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    with (tmp_path / "body").open("rb") as file:
        buffered.sendfile(file)
    assert theirs.recv(100) == HEAD + b"body"
    assert buffered.fileno() == ours.own.fileno()


def read(buffered: BufferedSocket, theirs: socket.socket) -> bytes:
    """What the client gets, while the poller sends."""
    theirs.setblocking(False)
    found = bytearray()
    unsent = buffered.unsent
    while unsent is not None and not unsent.empty:
        with suppress(BlockingIOError):
            unsent.send(buffered)
        with suppress(BlockingIOError):
            found += theirs.recv(1 << 20)
    with suppress(BlockingIOError):
        while data := theirs.recv(1 << 20):
            found += data
    return bytes(found)


PARTS = [bytes([n]) * 300_000 for n in range(20)]


def write(buffered: BufferedSocket) -> None:
    """An answer that is larger than the kernel and the memory take."""
    for part in (HEAD, *PARTS):
        buffered.sendall(part)
    assert buffered.unsent is not None


@pytest.mark.parametrize("disk", ["good", "full", "none", "missing"])
def test_what_is_not_read_at_once_is_kept_in_order(
    disk: str, pair: tuple[Counting, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, then in a file without a name; in memory where there is no file or the disk is full."""
    ours, theirs = pair
    room = 2_000_001

    def full(descriptor: int, data: Any) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "full")
        written = real(descriptor, data[:room])
        room -= written
        return written

    real = os.write
    if disk == "full":
        monkeypatch.setattr("os.write", full)
    total = UnsentBytes({"none": None, "missing": tmp_path / "missing"}.get(disk, tmp_path))
    buffered = BufferedSocket(ours, total=total)
    write(buffered)
    monkeypatch.undo()
    assert (total.in_files > 0) == (disk in ("good", "full"))
    assert disk != "good" or total.in_memory <= IN_MEMORY
    assert list(tmp_path.iterdir()) == []
    assert read(buffered, theirs) == HEAD + b"".join(PARTS)
    buffered.drop()
    assert (total.in_memory, total.in_files) == (0, 0)


def test_who_reads_while_it_is_made_gets_it_then(pair: tuple[Counting, socket.socket]) -> None:
    """The thread that makes an answer sends what it can."""
    ours, theirs = pair
    buffered = BufferedSocket(ours)
    found = bytearray()
    for part in (HEAD, *PARTS):
        buffered.sendall(part)
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while data := theirs.recv(1 << 20):
                found += data
    assert len(found) > len(PARTS[0])
    assert bytes(found) + read(buffered, theirs) == HEAD + b"".join(PARTS)


def test_too_much_that_nobody_reads_ends_an_answer(
    pair: tuple[Counting, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, whoever does not read."""
    monkeypatch.setattr(answers, "MOST_IN_MEMORY", 1_000_000)
    ours, _ = pair
    total = UnsentBytes()
    buffered = BufferedSocket(ours, total=total)
    with pytest.raises(ConnectionAbortedError):
        write(buffered)
    assert total.too_many
    buffered.drop()
    assert not total.too_many


def test_the_file_has_no_name(tmp_path: Path) -> None:
    """And only its owner could read it."""
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        assert os.fstat(file.fileno()).st_mode & 0o077 == 0
        assert list(tmp_path.iterdir()) == []
