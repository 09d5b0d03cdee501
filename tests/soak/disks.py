"""Small file systems for ``STATE_DIR`` and ``DATA_DIR`` of a replica, so that they can be full, really."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

STATE_BYTES, DATA_BYTES = 64 * 1024 * 1024, 8 * 1024**3  # the second is a file with holes
PAGE = 4096


@contextmanager
def small_disks(root: Path) -> Iterator[dict[str, Path]]:
    """Mount both below ``root``; gives the directories by name, none where this user or machine cannot mount them."""
    disks = {"STATE_DIR": root / "state", "DATA_DIR": root / "data"}
    image = root / "data.image"
    commands = (
        ["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES}", "state", str(disks["STATE_DIR"])],
        ["mkfs.ext4", "-q", "-m", "0", str(image)],
        ["mount", "-o", "loop", str(image), str(disks["DATA_DIR"])],
    )
    with ExitStack() as mounted:
        for path in disks.values():
            path.mkdir(parents=True)
        with image.open("wb") as file:
            file.truncate(DATA_BYTES)
        for command in commands:
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                disks = {}
                break
            if command[0] == "mount":
                mounted.callback(subprocess.run, ["umount", "--lazy", command[-1]], check=True)
        yield disks


def fill(disk: Path) -> Path:
    """Take all the room; returns the file that has it."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        facts = os.statvfs(disk)
        size, at = facts.f_bavail * facts.f_frsize, 0
        while size >= PAGE:
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), at, size)
                at += size
                continue
            size = size // 2 // PAGE * PAGE
    return filler
