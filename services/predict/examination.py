"""``python -m services.predict.examination JOB``: loads a model, shows it on every page, and runs the gates.

It is the process of a rehearsal (:mod:`services.predict.rollout.rehearsal`), and it is closed in before it reads the model
(:mod:`services.sandbox`). It reads logged rows from stdin (:mod:`services.predict.recent_rows`). It prints a verdict as JSON and
exits 0 when the model loads, reproduces its golden rows, is shown on every page and passes the gates, and 3 when it does not.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from modelbundle import golden
from modelbundle.errors import MustUnpickle
from modelbundle.format import bundle
from modelbundle.model import Model
from services import sandbox
from services.predict import page_check
from services.predict.gates.gate import Verdict, judge
from services.predict.gates.replay import Row
from services.predict.rollout.rehearsal import PASSED, REFUSED, Job

MOST_REASON = 800  # characters
WAYS_ON = (
    "Unpickling it runs its code. Publish it as a bundle with a compiled scorer (docs/publishing.md), or sign it and set "
    "MODEL_PUBLIC_KEY_FILE (docs/signing.md), or set ALLOW_PICKLE=1 for the prediction API and start that anew (docs/joblib.md)"
)
NICE = 3  # the workers come first, so that answers during a switch are hardly slower
KINDS = {
    "StatementError": "statement",
    "FormatError": "format",
    "RuntimeMismatch": "runtime",
    "GoldenMismatch": "golden",
    "HashMismatch": "hash",
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's file, which was opened before the process was closed in."""

    sha256: str
    path: Path
    file: BinaryIO

    @classmethod
    def open(cls, sha256: str, path: str) -> ModelFile:
        """Open it; raises :class:`OSError`."""
        return cls(sha256, Path(path), Path(path).open("rb"))

    def load(self, allow_pickle: bool) -> Model:
        """The model; see :func:`modelbundle.format.bundle.load`."""
        data = self.file.read()
        return bundle.load(data, self.sha256, allow_pickle=allow_pickle, file_name=self.path.name)

    def within(self, home: Path) -> Path:
        """A path by which this process can read the file: its own, or that of a copy in ``home``."""
        if os.access(self.path, os.R_OK):
            return self.path
        self.file.seek(0)
        copy = home / "candidate"
        copy.write_bytes(self.file.read())
        return copy


def main(argument: str) -> int:
    """Examine the model of a job; returns the exit code."""
    os.nice(NICE)
    job = msgspec.json.decode(argument, type=Job)
    answer = os.dup(1)
    os.dup2(2, 1)  # what a model prints is not the verdict
    rows, trouble = ([], job.no_rows) if job.no_rows else read_rows(sys.stdin.buffer)
    candidate = ModelFile.open(job.sha256, job.path)
    try:
        current = ModelFile.open(*job.current) if job.current else None
    except OSError:
        current = None
    home = Path(os.environ["HOME"])
    limit(job)
    sandbox.close(home, [candidate.path])
    verdict = examine(job, candidate, current, home, rows, trouble)
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


def examine(job: Job, file: ModelFile, other: ModelFile | None, home: Path, rows: list[Row], trouble: str) -> Verdict:
    """Load, check the golden rows, show the pages, and run the gates against the ``other`` model."""
    try:
        candidate = file.load(job.allow_pickle)
        golden.check(candidate)
        page_check.check(candidate, file.within(home), home)
    except MustUnpickle as error:
        return Verdict("format", f"{type(error).__name__}: {error}. {WAYS_ON}")
    except Exception as error:  # whatever it is, it is why this model is refused
        return _failed(error)
    if job.current is None:
        return Verdict()
    try:
        if other is None:
            raise FileNotFoundError
        current = other.load(job.allow_pickle)
    except Exception as error:
        return Verdict(facts={"not_compared": f"the current model cannot be loaded ({type(error).__name__})"})
    try:
        return judge(current, candidate, rows, trouble, job.rules)
    except Exception as error:  # without its text, which may quote a logged row
        return Verdict("rehearsal", f"{type(error).__name__} while it was compared on logged rows")


def _failed(error: Exception) -> Verdict:
    name = type(error).__name__
    return Verdict(KINDS.get(name, "rehearsal"), f"{name}: {(str(error).splitlines() or [''])[0]}")


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
