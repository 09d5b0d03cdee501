"""The work directory: a part for each finished chunk, and a journal of the parts, the input and the model.

A part is written; then a line with its checksum is appended to the journal. When a run was killed, the next run continues: it
scores only the chunks that the journal does not name. The output has the same bytes as that of a run without interruption. Only
the finished output is forced to the disk: after a power cut, a part that is not what its checksum says is scored again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portfolio.errors import PortfolioError

JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class FinishedChunk:
    """A journal entry: the rows of a chunk, how many were rejected, and the bytes and the CRC-32 of its part and of its rejects.

    ``groups`` are the part's row groups of Parquet, as a footer has them, in base64.
    """

    number: int
    source: int
    rows: int
    rejected: int
    part_bytes: int
    part_crc: int
    aside_bytes: int
    aside_crc: int
    groups: str


def part(folder: Path, number: int) -> Path:
    """Return the path of the scored rows of a chunk, as bytes of the output; the file is gone when these are in the output."""
    return folder / f"{number:06d}.part"


def rejects(folder: Path, number: int) -> Path:
    """Return the path of the rejected rows of a chunk, one JSON array per line; the file is missing if there are none."""
    return folder / f"{number:06d}.aside"


class Checkpoint:
    """The work directory of one run. One process at a time holds it."""

    def __init__(self, folder: Path, job: dict[str, Any], fresh: bool) -> None:
        """Begin, or continue if ``job`` is the same as before; ``fresh`` discards earlier parts.

        Raises :class:`PortfolioError` if another process holds the directory, or if it belongs to another job.
        """
        self.folder = folder
        self.done: dict[int, FinishedChunk] = {}
        self._finished: list[int] | None = None
        self._job = job
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("w", encoding="utf-8")
            self._hold()
            journal = folder / JOURNAL
            if fresh:
                journal.unlink(missing_ok=True)
            self._recall(journal)
            self._journal = journal.open("ab")
            if not journal.stat().st_size:
                self._append({"job": job})
        except OSError as error:
            raise PortfolioError(f"{folder}: {error.strerror}") from None

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the directory."""
        self._journal.close()
        self._lock.close()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PortfolioError(f"{self.folder}: another run is at work there") from None

    def _recall(self, journal: Path) -> None:
        whole = 0
        for number, line in enumerate(journal.read_bytes().splitlines(keepends=True) if journal.exists() else ()):
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None:  # a line that was being written when the run was killed, or that a power cut left of it
                with journal.open("r+b") as file:
                    file.truncate(whole)
                return
            whole += len(line)
            if number == 0:
                self._same(entry["job"])
            elif "finished" in entry:
                self._finished = entry["finished"]
            else:
                done = FinishedChunk(**entry)
                self.done[done.number] = done

    def _same(self, before: dict[str, Any]) -> None:
        changed = [what for what in self._job if before.get(what) != self._job[what]]
        if changed:
            raise PortfolioError(
                f"{self.folder} was begun with another {' and '.join(changed)}: pass --fresh to score anew, or restore it"
            )

    def has_part(self, done: FinishedChunk) -> bool:
        """Return whether the part of a chunk is here, as it was written."""
        return _is(part(self.folder, done.number), done.part_bytes, done.part_crc)

    def has_rejects(self, done: FinishedChunk) -> bool:
        """Return whether the rejected rows of a chunk are here, as they were written."""
        return not done.rejected or _is(rejects(self.folder, done.number), done.aside_bytes, done.aside_crc)

    def note(self, done: FinishedChunk) -> None:
        """Record that a chunk is finished."""
        self._append(asdict(done))
        self.done[done.number] = done

    def finish(self, written: Path, rows: int, rejected: int) -> None:
        """Record that the output is complete and about to get its name."""
        self._append({"finished": [rows, rejected, *_identity(written)]})
        os.fsync(self._journal.fileno())

    def found_finished(self, output: Path | None) -> tuple[int, int] | None:
        """Return rows and rejected rows if ``output`` is the work of a run that was killed after it had finished."""
        if self._finished is None or output is None or not output.exists():
            return None
        rows, rejected, *identity = self._finished
        return (rows, rejected) if identity == _identity(output) else None

    def _append(self, entry: dict[str, Any]) -> None:
        self._journal.write(json.dumps(entry).encode() + b"\n")
        self._journal.flush()

    def remove(self) -> None:
        """Remove the directory, when everything is in the output."""
        self._journal.close()
        shutil.rmtree(self.folder)


def _is(path: Path, size: int, checksum: int) -> bool:
    return path.exists() and path.stat().st_size == size and zlib.crc32(path.read_bytes()) == checksum


def _identity(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_ino, facts.st_mtime_ns]
