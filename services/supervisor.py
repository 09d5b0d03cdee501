"""Keeps one companion process alive next to the workers of a service.

Exactly one such process runs at a time: it holds a lock that the kernel frees when the process dies. Every worker has a
:class:`Supervisor`, which starts the process when nobody holds the lock. The process ends when the pipe on its standard input
closes, that is, with the worker that started it.

The first process may be a copy of the workers' master instead (:meth:`Supervisor.fork`). The copy shares the memory of all
modules that the master has imported, which is half of what such a process needs.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services import private
from services.web import json_logging

EVERY = 0.5  # seconds between looks
LIVED = 10.0  # seconds; a process that fails sooner is started again after a pause that doubles up to this


class Supervisor:
    """Runs ``python -m MODULE ARGUMENTS`` while ``wanted()`` says so; ``lock`` is the file that the process locks.

    For :meth:`fork` the module has ``main(arguments)``, which returns the exit code and reads its settings from ``os.environ``.
    """

    def __init__(
        self,
        lock: Path,
        module: str,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.lock = lock
        self.module = module
        self.arguments = arguments
        self.command = [sys.executable, "-m", module, *arguments]
        self.environment = environment or {}
        self.wanted = wanted
        self.child: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._pause = EVERY
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=module.rpartition(".")[2], daemon=True)

    def start(self) -> None:
        """Start the thread that supervises."""
        self._thread.start()

    def fork(self, held: Sequence[int] = ()) -> int:
        """Start the process as a copy of this one; raises :class:`RuntimeError` where this one has another thread.

        The copy ends when the returned descriptor is closed in this process and in all its other copies. ``held`` are the
        descriptors of copies that were started before; the new copy closes them, so that it does not keep those alive.
        """
        read, write = os.pipe()
        if fork():
            os.close(read)
            return write
        code = 1
        try:
            for descriptor in (write, *held):
                os.close(descriptor)
            os.setpgid(0, 0)  # not a session: a niceness counts within one only
            os.dup2(read, 0)
            os.close(read)
            os.environ.update(self.environment)
            json_logging.log_uncaught()
            code = importlib.import_module(self.module).main(self.arguments)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)  # a copy must not run the exit handlers of its original

    def stop(self) -> None:
        """End the process that this supervisor started, if there is one."""
        self._stop.set()
        self._thread.join(5)
        if self.child is not None and self.child.stdin is not None:
            self.child.stdin.close()

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            with contextlib.suppress(OSError):
                if self.child is not None and self.child.poll() is not None:
                    fine = self.child.returncode == 0 or time.monotonic() - self._began > LIVED
                    self._pause = EVERY if fine else min(self._pause * 2, LIVED)
                    self._bury(self.child)
                elif self.child is None and self.wanted() and free(self.lock):
                    self._began = time.monotonic()
                    self.child = self._spawn()

    def _bury(self, child: subprocess.Popen[bytes]) -> None:
        self.child = None
        if child.stdin is not None:
            child.stdin.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(self.command, stdin=subprocess.PIPE, env=environment, process_group=0)


def fork() -> int:
    """:func:`os.fork`; raises :class:`RuntimeError` where there is another thread, which may hold a lock that the copy needs."""
    if threading.active_count() > 1:
        raise RuntimeError("only a process with one thread is copied")
    return os.fork()


def take(lock: Path) -> int | None:
    """Take the lock, which is held until the returned descriptor is closed; returns None when another process has it."""
    private.directory(lock.parent)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def be(name: str, lock: Path) -> int | None:
    """:func:`take` for a whole process, which is then called ``name`` (at most 15 characters) where processes are listed."""
    descriptor = take(lock)
    if descriptor is not None:
        with contextlib.suppress(OSError):  # only Linux has it
            Path("/proc/self/comm").write_text(name, "utf-8")
    return descriptor


def free(lock: Path) -> bool:
    """Return whether nobody holds the lock."""
    descriptor = take(lock)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None
