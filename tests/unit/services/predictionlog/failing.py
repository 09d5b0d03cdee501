"""System calls that fail: the n-th, or every one from the n-th on, until they are healed."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from collections.abc import Callable
from typing import Any

import pytest

CALLS: dict[Any, tuple[str, ...]] = {
    os: (
        *("open", "close", "writev", "write", "fsync", "ftruncate", "fstat", "stat"),
        *("rename", "replace", "unlink", "mkdir", "rmdir", "listdir"),
    ),
    io: ("open",),
    fcntl: ("flock",),
}


class FailingCalls:
    """While it is ``on``, counts the calls that a spool makes. The call with number ``fails`` raises ``error``, and all after
    it where ``for_good``. Where ``torn``, such a write takes a part of the bytes instead."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        fails: int,
        *,
        for_good: bool = False,
        torn: bool = False,
        error: int = errno.ENOSPC,
    ) -> None:
        self.fails = fails
        self.for_good = for_good
        self.torn = torn
        self.error = error
        self.count = 0
        self.on = False
        for module, names in CALLS.items():
            for name in names:
                monkeypatch.setattr(module, name, self.wrapped(getattr(module, name), name))

    def step(self) -> bool:
        """Count a call; whether it fails."""
        self.count += self.on
        return self.on and (self.count == self.fails or (self.for_good and self.count > self.fails))

    def wrapped(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """``call``, failing in its turn."""

        def failing(*arguments: Any, **named: Any) -> Any:
            if not self.step():
                return call(*arguments, **named)
            if name == "close":
                call(*arguments)  # the kernel closes what it complains of
            if name == "writev" and self.torn:
                descriptor, parts = arguments
                return call(descriptor, [b"".join(parts)[: sum(map(len, parts)) // 2]])
            raise OSError(self.error, os.strerror(self.error))

        return failing
