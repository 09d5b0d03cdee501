"""What a service writes is for its own user, and a crash writes nothing down.

Directories that hold what callers sent are made here. :func:`begin` is for the start of a process: all that it starts inherits
what it sets.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from collections.abc import Iterable
from pathlib import Path

FILE, DIRECTORY = 0o600, 0o700


def begin() -> None:
    """Whatever the umask was, new files and directories are for this user only, and there are no core dumps."""
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    # One byte, not none: Linux writes no file then, and starts no program that /proc/sys/kernel/core_pattern names.
    least = 0 if most == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (least, least))


def directory(path: Path) -> None:
    """Make a directory and those above it that are missing, for this user only; raises :class:`OSError`."""
    for missing in reversed([path, *path.parents]):
        with contextlib.suppress(FileExistsError):
            if not missing.is_dir():
                missing.mkdir(mode=DIRECTORY)
    if not path.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(path))


def tighten(root: Path, names: Iterable[str]) -> None:
    """Take the rights of other users away from ``root`` and from the files that earlier versions made there: those that ``names``
    (patterns) match, with all that is below them. What belongs to another user stays as it is."""
    _narrow(root)
    for name in names:
        for path in root.glob(name):
            _narrow(path)
            if path.is_dir() and not path.is_symlink():
                for above, below, files in os.walk(path):
                    for own in (*below, *files):
                        _narrow(Path(above, own))


def _narrow(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is gone meanwhile, or another user's
        mode = path.lstat().st_mode
        shared = mode & stat.S_ISVTX  # a directory for all, such as /tmp
        if mode & 0o077 and not stat.S_ISLNK(mode) and not shared:
            path.chmod(DIRECTORY if stat.S_ISDIR(mode) else FILE)
