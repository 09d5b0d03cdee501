"""The one seam to the file system: what the follower and the log do to files goes through here.

A test that makes the Nth operation fail subclasses :class:`Disk`.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path


class Disk:
    """Files, as far as they are needed. Every method raises :class:`OSError`."""

    def open(self, path: Path, flags: int) -> int:
        """A new file descriptor."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

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
        """A link whose target is ``content``."""
        os.symlink(content, path)

    def unlink(self, path: Path) -> None:
        """Remove a file; one that is not there is fine."""
        path.unlink(missing_ok=True)

    def write_file(self, path: Path, data: bytes, *, durable: bool = False) -> None:
        """Replace ``path`` by ``data`` atomically; nothing is left behind when it fails."""
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
        try:
            descriptor = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                self.write(descriptor, data)
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
        """Make renames in a directory durable."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)
