"""Loads a model in a process of its own, within limits, before any worker touches it.

``python -m services.predict.rollout.rehearsal FILE SHA256`` exits 0 when the model loads and reproduces its golden
rows, and 3 with the reason on stdout when it does not. Any other end (a signal, out of memory) was caused by the model too.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from services.predict.settings import Settings

PASSED, REFUSED = 0, 3


KINDS = {
    "StatementError": "statement",
    "FormatError": "format",
    "RuntimeMismatch": "runtime",
    "GoldenMismatch": "golden",
    "HashMismatch": "hash",
}


class RehearsalFailed(Exception):
    """The model did not pass; the message is the reason, in one line, ``kind`` its class."""

    def __init__(self, reason: str, kind: str = "rehearsal") -> None:
        super().__init__(reason)
        self.kind = kind


def rehearse(path: Path, sha256: str, settings: Settings) -> None:
    """Run the rehearsal of a verified file; raises :class:`RehearsalFailed`, or :class:`OSError` where no process starts."""
    limits = [str(int(settings.rehearsal_seconds)), str(settings.rehearsal_memory_mb), str(int(settings.allow_pickle))]
    command = [sys.executable, "-m", "services.predict.rollout.rehearsal", str(path), sha256, *limits]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        output, _ = process.communicate(timeout=settings.rehearsal_seconds)
    except subprocess.TimeoutExpired:
        raise RehearsalFailed(f"not ready within {settings.rehearsal_seconds:g} s") from None
    finally:
        process.kill()
        process.wait()
    if process.returncode == REFUSED:
        reason = output.decode("utf-8", "replace").strip()[-500:]
        raise RehearsalFailed(reason, KINDS.get(reason.partition(":")[0], "rehearsal"))
    if process.returncode < 0:
        raise RehearsalFailed(f"loading it ended the process ({signal.Signals(-process.returncode).name})")
    if process.returncode != PASSED:
        raise RehearsalFailed(f"loading it ended the process (exit {process.returncode})")


def main(path: str, sha256: str, seconds: str, megabytes: str, allow_pickle: str) -> int:
    """The child's side."""
    signal.alarm(int(seconds) + 5)  # should the parent be gone
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
    resource.setrlimit(resource.RLIMIT_AS, (int(megabytes) << 20, int(megabytes) << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from modelbundle import golden
    from modelbundle.format import bundle

    answer = os.dup(1)
    os.dup2(2, 1)  # what a model prints is not the reason
    try:
        golden.check(bundle.read(Path(path), sha256, allow_pickle=allow_pickle == "1"))
    except Exception as error:  # whatever it is, it is why this model is refused
        reason = str(error).splitlines()[0] if str(error) else ""
        os.write(answer, f"{type(error).__name__}: {reason}".encode())
        return REFUSED
    return PASSED


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
