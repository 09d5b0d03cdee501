"""Loads a model in a process of its own, within limits, before any worker touches it, and runs the gates there.

``python -m services.predict.rollout.rehearsal JOB`` reads logged rows from stdin (:mod:`services.predictionlog.recent`). It
prints a verdict as JSON and exits 0 when the model loads, reproduces its golden rows and passes the gates, and 3 when it does
not. Any other end (a signal, out of memory) was caused by the model too.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from modelbundle import golden
from modelbundle.format import bundle
from modelbundle.model import Model
from services.predict.gates.gate import Rules, Verdict, judge
from services.predict.gates.replay import Row
from services.predict.settings import NO_LOG, Settings

PASSED, REFUSED = 0, 3
MOST_REASON = 800  # characters
NICE = 3  # the workers come first, so that answers during a switch are hardly slower
KINDS = {
    "StatementError": "statement",
    "FormatError": "format",
    "RuntimeMismatch": "runtime",
    "GoldenMismatch": "golden",
    "HashMismatch": "hash",
}


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
    with _reading(settings, wanted=current is not None and not no_rows) as rows:
        command = [sys.executable, "-m", "services.predict.rollout.rehearsal", msgspec.json.encode(job).decode()]
        process = subprocess.Popen(
            command,
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
            stdin=rows.stdout if rows else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            if rows and rows.stdout:
                rows.stdout.close()  # so that it ends with the process that reads it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    rows.wait(settings.gate_seconds)
                rows.kill()  # the process sees the end of its input, and that rows are missing
            output, _ = process.communicate(timeout=settings.rehearsal_seconds)
        except subprocess.TimeoutExpired:
            raise RehearsalFailed(f"not ready within {settings.rehearsal_seconds:g} s") from None
        finally:
            process.kill()
            process.wait()
    if process.returncode in (PASSED, REFUSED):
        with contextlib.suppress(msgspec.MsgspecError):
            verdict = msgspec.json.decode(output, type=Verdict)
            if verdict.kind:
                raise RehearsalFailed(verdict.reason, verdict)
            return verdict
    end = signal.Signals(-process.returncode).name if process.returncode < 0 else f"exit {process.returncode}"
    raise RehearsalFailed(f"loading it ended the process ({end})")


@contextlib.contextmanager
def _reading(settings: Settings, wanted: bool) -> Iterator[subprocess.Popen[bytes] | None]:
    """The process that reads the log, with its stdout; None where it is not ``wanted``."""
    if not wanted:
        yield None
        return
    arguments = [str(settings.data_dir / "spool"), str(settings.gate_rows)]
    command = [sys.executable, "-m", "services.predictionlog.recent", *arguments]
    environment = {**os.environ, "PREDICTION_LOG_URL": settings.prediction_log_url}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reader:
        try:
            yield reader
        finally:
            reader.kill()


def main(argument: str) -> int:
    """The child's side."""
    os.nice(NICE)
    job = msgspec.json.decode(argument, type=Job)
    answer = os.dup(1)
    os.dup2(2, 1)  # what a model prints is not the verdict
    rows, trouble = ([], job.no_rows) if job.no_rows else read_rows(sys.stdin.buffer)
    limit(job)
    verdict = examine(job, rows, trouble)
    verdict.reason = verdict.reason[:MOST_REASON]
    os.write(answer, msgspec.json.encode(verdict))
    return REFUSED if verdict.kind else PASSED


def limit(job: Job) -> None:
    """Set the limits of this process."""
    signal.alarm(job.seconds + 5)  # should the parent be gone
    resource.setrlimit(resource.RLIMIT_CPU, (job.seconds + 1, job.seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (job.megabytes << 20, job.megabytes << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_rows(source: BinaryIO) -> tuple[list[Row], str]:
    """The rows, and why some are missing."""
    rows: list[Row] = []
    for line in source:
        try:
            found = msgspec.json.decode(line)
        except msgspec.MsgspecError:
            break  # the reader was killed
        if isinstance(found, list):
            return rows, str(found[1])
        rows.append(found)
    return rows, "the log could not be read in time"


def examine(job: Job, rows: list[Row], trouble: str) -> Verdict:
    """Load, check the golden rows, and run the gates."""
    try:
        candidate = bundle.read(Path(job.path), job.sha256, allow_pickle=job.allow_pickle)
        golden.check(candidate)
    except Exception as error:  # whatever it is, it is why this model is refused
        name = type(error).__name__
        return Verdict(KINDS.get(name, "rehearsal"), f"{name}: {(str(error).splitlines() or [''])[0]}")
    if job.current is None:
        return Verdict()
    try:
        current: Model = bundle.read(Path(job.current[1]), job.current[0], allow_pickle=job.allow_pickle)
    except Exception as error:
        return Verdict(facts={"not_compared": f"the current model cannot be loaded ({type(error).__name__})"})
    try:
        return judge(current, candidate, rows, trouble, job.rules)
    except Exception as error:
        name = type(error).__name__
        return Verdict("rehearsal", f"{name}: {(str(error).splitlines() or [''])[0]}")


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
