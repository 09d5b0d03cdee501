"""The files in which ``prometheus_client`` keeps the values of each process: made anew at each start, never more than live.

A process that ends leaves its counters and histograms in files of its own. Without :func:`fold` a replica whose workers die
again and again fills its memory with them, and each scrape reads all. What reads the files holds :func:`reading` meanwhile, so
that it sees each count once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "peerloan-counters-"
ENDED = 0  # in place of a process's id: the sum of those that have ended


def begin() -> None:
    """Make the directory, before anything imports ``prometheus_client``, and remove those of services that were killed.

    The directory is locked until this process and all that it starts have ended.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
    directory = ""
    while not os.path.isdir(directory):  # another service that begins may have taken it for one of a dead one
        directory = tempfile.mkdtemp(prefix=PREFIX)
        held = os.open(directory, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_SH)
    os.set_inheritable(held, True)
    os.environ[VARIABLE] = directory


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Keep :func:`fold` away. Raises :class:`OSError` where the directory is gone."""
    with _lock(directory) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


def fold(directory: Path) -> None:
    """Add up the counts of the processes that have ended in one file for all of them, and remove their own.

    Does nothing while somebody reads, or where the directory is gone: the next call will.
    """
    with suppress(OSError), _lock(directory) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in directory.glob("*_*.db"):
            kind, _, rest = path.stem.partition("_")
            process = int(rest.rpartition("_")[2])
            if process == ENDED or _lives(process):
                continue
            if kind != "gauge":
                _add(path, directory / f"{kind}_{ENDED}.db")
            path.unlink()


def _add(path: Path, total: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    values = MmapedDict(str(total))  # type: ignore[no-untyped-call]
    for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
        values.write_value(key, values.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def _lock(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
