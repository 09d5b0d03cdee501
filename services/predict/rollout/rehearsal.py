"""Loads a model in a process of its own, within limits, before any worker touches it, and runs the gates there.

This is the leader's side; the process is :mod:`services.predict.examination`. It has nothing that the model should not have: see
:mod:`services.sandbox`. Any end but a verdict (a signal, out of memory) was caused by the model too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from services import sandbox
from services.predict.gates.gate import Rules, Verdict
from services.predict.settings import NO_LOG, Settings

PASSED, REFUSED = 0, 3
LOOK = 0.5  # seconds between two looks whether the process has ended


class RehearsalFailed(Exception):
    """The model did not pass; the message is the reason, in one line, and ``verdict`` has its kind and the gates' figures."""

    def __init__(self, reason: str, verdict: Verdict | None = None) -> None:
        super().__init__(reason)
        self.verdict = verdict or Verdict("rehearsal", reason)


@dataclass(frozen=True, slots=True)
class Job:
    """What the process is told. ``current`` is the SHA-256 and the path of the model that answers now; None where none does.

    ``no_rows`` says why no rows are read; empty where they are.
    """

    sha256: str
    path: str
    current: tuple[str, str] | None
    rules: Rules
    no_rows: str
    seconds: int
    megabytes: int
    allow_pickle: bool


def rehearse(
    file: tuple[str, Path],
    settings: Settings,
    current: tuple[str, Path] | None = None,
    lifted: tuple[str, ...] = (),
    no_rows: str = "",
) -> Verdict:
    """Run the rehearsal of a verified file, (SHA-256, path), and the gates against ``current``.

    Raises :class:`RehearsalFailed`, or :class:`OSError` where no process starts. It takes REHEARSAL_SECONDS at most, and
    GATE_SECONDS before that to read rows.
    """
    if settings.prediction_log_url == NO_LOG:
        no_rows = no_rows or "nothing is logged"
    if settings.gate_rows == 0:
        no_rows = no_rows or "GATE_ROWS is 0"
    seconds = min(settings.gate_seconds, settings.rehearsal_seconds / 4)
    job = Job(
        file[0],
        str(file[1]),
        (current[0], str(current[1])) if current else None,
        Rules(lifted, settings.most_rate_change, seconds),
        no_rows,
        max(1, int(settings.rehearsal_seconds)),
        settings.rehearsal_memory_mb,
        settings.allow_pickle,
    )
    with (
        tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as home,
        _reading(settings, wanted=current is not None and not no_rows) as rows,
    ):
        command = [sys.executable, "-m", "services.predict.examination", msgspec.json.encode(job).decode()]
        process = subprocess.Popen(
            command,
            env=sandbox.environment(Path(home)),
            stdin=rows.stdout if rows else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if rows and rows.stdout:
                rows.stdout.close()  # so that it ends with the process that reads it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    rows.wait(settings.gate_seconds)
                rows.kill()  # the process sees the end of its input, and that rows are missing
            output = _output(process, settings.rehearsal_seconds)
        except subprocess.TimeoutExpired:
            raise RehearsalFailed(f"not ready within {settings.rehearsal_seconds:g} s") from None
        finally:
            _end(process)
    if process.returncode in (PASSED, REFUSED):
        with contextlib.suppress(msgspec.MsgspecError):
            verdict = msgspec.json.decode(output, type=Verdict)
            if verdict.kind:
                raise RehearsalFailed(verdict.reason, verdict)
            return verdict
    end = signal.Signals(-process.returncode).name if process.returncode < 0 else f"exit {process.returncode}"
    raise RehearsalFailed(f"loading it ended the process ({end})")


def _output(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """What the process wrote. What it started and left running is ended when it ends, and holds nothing up."""
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            return process.communicate(timeout=max(0.0, min(left, LOOK)))[0]
        except subprocess.TimeoutExpired:
            if left <= 0:
                raise
            if process.poll() is not None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


@contextlib.contextmanager
def _reading(settings: Settings, wanted: bool) -> Iterator[subprocess.Popen[bytes] | None]:
    """The process that reads the log, with its stdout; None where it is not ``wanted``."""
    if not wanted:
        yield None
        return
    arguments = [str(settings.data_dir / "spool"), str(settings.gate_rows)]
    command = [sys.executable, "-m", "services.predict.recent_rows", *arguments]
    environment = {**os.environ, "PREDICTION_LOG_URL": settings.prediction_log_url}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reader:
        try:
            yield reader
        finally:
            reader.kill()
