"""Atomic and durable writes: a file is complete under its name, or it is not there.

All file operations go through :class:`Disk`. A test that makes the Nth operation fail subclasses it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Disk:
    """The operations on files. Every method raises :class:`OSError`."""

    def open(self, path: Path, flags: int) -> int:
        """Return a new file descriptor. A file that is made is for this user only."""
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def fsync(self, descriptor: int) -> None:
        """Make what was written durable."""
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename atomically."""
        os.replace(source, target)

    def symlink(self, content: str, path: Path) -> None:
        """Make a link whose target is ``content``."""
        os.symlink(content, path)

    def unlink(self, path: Path) -> None:
        """Remove a file; a missing file is not an error."""
        path.unlink(missing_ok=True)

    def write_file(
        self, path: Path, data: bytes | memoryview, *, durable: bool = False, mode: int | None = None
    ) -> None:
        """Replace ``path`` by ``data`` atomically. Nothing is left behind when it fails.

        ``mode`` sets the permissions; without it only this user has any.
        """
        temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}"
        descriptor = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            try:
                self.write(descriptor, data)
                if mode is not None:
                    os.fchmod(descriptor, mode)
                if durable:
                    self.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        """Make the renames in a directory durable."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)


def write(path: Path, content: Any, mode: int = 0o644) -> int:
    """Replace ``path`` by ``content`` atomically and durably, readable for every user by default; returns the size in bytes.

    ``content`` is bytes or another buffer. Missing directories are made. Raises :class:`OSError`.
    """
    data = memoryview(content).cast("B")
    path.parent.mkdir(parents=True, exist_ok=True)
    Disk().write_file(path, data, durable=True, mode=mode)
    return len(data)


def obstacle(directory: Path) -> str:
    """Why no file can be made below a directory now, as the file system itself says; empty where it says nothing."""
    try:
        facts = os.statvfs(directory)
    except OSError as error:
        return error.strerror or type(error).__name__
    if facts.f_flag & os.ST_RDONLY:
        return "Read-only file system"
    if facts.f_blocks and not facts.f_bavail:
        return "No space left on device"
    if facts.f_files and not facts.f_favail:  # some have no fixed number of them, and say 0
        return "No inodes left on device"
    return ""
