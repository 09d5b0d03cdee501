"""Allows one deployment at a time. Two would wait for, and restore, each other's pins."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.deployment.target import DeploymentError


@contextmanager
def alone(path: Path, action: str) -> Iterator[None]:
    """Hold the lock file, which the kernel frees when the process ends. Raises :class:`DeploymentError` if another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "another deployment"
            raise DeploymentError(f"{other} is at work here: try again when it has ended") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"a {action} (process {os.getpid()})".encode(), 0)
        yield
    finally:
        os.close(descriptor)
