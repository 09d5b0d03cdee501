"""The rehearsal in its process: the gates run there, on the rows that the log has."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import joblib
import pytest

from modelbundle.format import bundle
from modelbundle.format.archive import digest
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import Published, publish
from services.predict import examination
from services.predict.examination import ModelFile, examine
from services.predict.gates.gate import Rules, Verdict
from services.predict.pages import model_card
from services.predict.rollout import rehearsal
from services.predict.rollout.model_client import ModelClient
from services.predict.rollout.protocol import Outcome, PinnedVersion
from services.predict.rollout.rehearsal import Job, RehearsalFailed, rehearse
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings, SettingsError
from tests.conftest import WORDS, Made, make_book, make_logistic
from tests.unit.services.conftest import make_current
from tests.unit.services.logs import Written


@pytest.fixture(scope="module")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A good bundle in every way, of labels the wrong way round."""
    frame, labels = make_book()
    pipeline = make_logistic().fit(frame, 1 - labels)
    return publish(
        pipeline,
        frame,
        1 - labels,
        tmp_path_factory.mktemp("bad") / "inverted.bundle",
        author=Author("inverted", "Inverted", "on time", WORDS),
    )


def current(made: Made) -> tuple[str, Path]:
    return made.sha256, made.path


@pytest.fixture
def log(settings: Settings, bundles: list[Made]) -> Written:
    """Two hundred rows, in the database that the settings name."""
    written = Written(settings.data_dir)
    written.add(bundle.read(bundles[0].path), bundles[0].frame.head(200))
    return written


def test_the_gates_read_the_log(settings: Settings, bundles: list[Made], inverted: Published, log: Written) -> None:
    """A model of the same kind passes, with figures; one with its labels inverted is refused for its scores."""
    good = rehearse((bundles[1].sha256, bundles[1].path), settings, current(bundles[0]))
    assert (good.kind, good.facts["rows"], good.facts["scored"], good.facts["not_compared"]) == ("", 200, 200, None)
    with pytest.raises(RehearsalFailed, match="mean probability of `0` goes from") as failed:
        rehearse((inverted.sha256, inverted.path), settings, current(bundles[0]))
    assert failed.value.verdict.kind == "scores"
    assert failed.value.verdict.facts["scored"] == 200
    meant = rehearse((inverted.sha256, inverted.path), settings, current(bundles[0]), ("scores",))
    assert meant.warnings[0].startswith("scores: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"GATE_ROWS": "0"}, "GATE_ROWS is 0"),
        ({"PREDICTION_LOG_URL": "none"}, "nothing is logged"),
        ({"PREDICTION_LOG_URL": "sqlite:////does/not/exist"}, "the log cannot be read (OperationalError)"),
    ],
)
def test_without_rows_only_the_schemas_are_compared(
    settings: Settings, bundles: list[Made], inverted: Published, change: dict[str, str], said: str
) -> None:
    """It is said that nothing else was."""
    own = Settings.from_environment({"DATA_DIR": str(settings.data_dir), **change})
    assert rehearse((inverted.sha256, inverted.path), own, current(bundles[0])).facts["not_compared"] == said


def test_a_log_that_does_not_answer_is_given_up(
    settings: Settings, bundles: list[Made], inverted: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that reads it is killed after GATE_SECONDS."""
    own = Settings.from_environment({"DATA_DIR": str(settings.data_dir), "GATE_SECONDS": "0.5"})
    real = rehearsal.subprocess.Popen

    def popen(command: list[str], **options: object) -> object:
        hangs = "services.predict.recent_rows" in command
        return real(["sleep", "60"] if hangs else command, **options)

    monkeypatch.setattr(rehearsal.subprocess, "Popen", popen)
    found = rehearse((inverted.sha256, inverted.path), own, current(bundles[0]))
    assert found.facts["not_compared"] == "the log could not be read in time"


def test_a_first_model_is_compared_with_none(settings: Settings, bundles: list[Made]) -> None:
    """There is nothing to fit."""
    assert rehearse((bundles[0].sha256, bundles[0].path), settings).facts == {}


def test_a_current_model_that_cannot_be_loaded_is_no_reason_to_keep_it(
    settings: Settings, bundles: list[Made], tmp_path: Path
) -> None:
    """The candidate passes uncompared."""
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"PK\x03\x04damaged")
    found = rehearse((bundles[0].sha256, bundles[0].path), settings, ("0" * 64, damaged))
    assert found.facts["not_compared"] == "the current model cannot be loaded (HashMismatch)"


class Leaves:
    """Ends the process with exit code 0 when it is unpickled."""

    def __reduce__(self) -> object:
        return (exit, (0,))


def dumped(model: object, tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "own.joblib"
    joblib.dump(model, path)
    return digest(path.read_bytes()), path


def test_a_model_that_ends_the_process_in_good_order_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Only a verdict lets a model through."""
    with pytest.raises(RehearsalFailed, match="ended the process"):
        rehearse(dumped(Leaves(), tmp_path), settings)


class Forks:
    """Leaves a process behind when it is unpickled, with all that it has open."""

    def __reduce__(self) -> object:
        return (exec, ("import os, time\nif os.fork() == 0:\n time.sleep(60)\nos._exit(7)",))


def running(variable: str) -> list[Path]:
    """The processes that live with a variable of their environment that begins so."""
    found = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if variable.encode() in process.read_bytes():
                found.append(process)
    return found


def test_what_a_model_started_ends_with_the_rehearsal(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it does not hold up the verdict."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = replace(settings, rehearsal_seconds=30.0)
    with pytest.raises(RehearsalFailed, match=r"ended the process \(exit 7\)"):
        rehearse(dumped(Forks(), tmp_path), own)
    deadline = time.monotonic() + 20
    while left := running(f"HOME={tmp_path}/rehearsal-"):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


LOOK = """
import os, socket
from pathlib import Path
def reaches(do):
    try:
        do()
    except OSError:
        return 0
    return 1
os._exit(
    100
    + ("PREDICTION_LOG_URL" in os.environ or "SECRET" in os.environ)
    + 2 * reaches(socket.socket)
    + 4 * reaches(Path({data!r}).read_bytes)
    + 8 * (not Path.cwd().name.startswith("rehearsal-"))
)
"""


class Looks:
    """Says in its exit code what the model reaches while it is unpickled: 1 secrets, 2 the network, 4 the log, 8 a directory."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __reduce__(self) -> object:
        return (exec, (LOOK.format(data=str(self.data)),))


@pytest.mark.attack("pickles")
def test_a_model_reaches_nothing_while_it_is_rehearsed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither secrets nor the network, nor the log where the kernel closes files; its directory is its own, and goes."""
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("PREDICTION_LOG_URL", "postgresql://user:password@host/db")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    data = tmp_path / "predictions.sqlite"
    data.write_bytes(b"a borrower")
    with pytest.raises(RehearsalFailed, match=r"ended the process \(exit 10[04]\)") as failed:
        rehearse(dumped(Looks(data), tmp_path), settings)
    files_are_closed = "files" in subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from services import sandbox;"
         " print(*sandbox.close(Path(sys.argv[1])))", str(tmp_path)],
        capture_output=True, text=True, encoding="utf-8", timeout=60, check=True,
    ).stdout  # fmt: skip
    assert ("exit 100" in str(failed.value)) == files_are_closed
    assert not list(tmp_path.glob("rehearsal-*"))


class Touches:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.mark.attack("pickles")
def test_without_a_statement_nothing_is_unpickled(tmp_path: Path) -> None:
    """By default, and it is said what would allow it."""
    settings = Settings.from_environment({"STATE_DIR": str(tmp_path / "state"), "DATA_DIR": str(tmp_path / "data")})
    marker = Path(tempfile.gettempdir()) / f"unpickled-{os.getpid()}"
    with pytest.raises(
        RehearsalFailed, match=r"Publish it as a bundle .*, or sign it .*, or set ALLOW_PICKLE=1"
    ) as failed:
        rehearse(dumped(Touches(marker), tmp_path), settings)
    assert failed.value.verdict.kind == "format"
    for page in re.findall(r"docs/\S+\.md", failed.value.verdict.reason):
        assert Path(page).is_file()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("given", "keys", "allowed"),
    [("", "", False), ("signed", "", False), ("", "k.pem", True), ("0", "k.pem", False), ("1", "", True)],
)
def test_what_allow_pickle_means(given: str, keys: str, allowed: bool) -> None:
    """The default is ``signed``."""
    environment = {"ALLOW_PICKLE": given, "MODEL_PUBLIC_KEY_FILE": keys}
    assert Settings.from_environment(environment).allow_pickle is allowed
    with pytest.raises(SettingsError, match="ALLOW_PICKLE must be 0, 1 or signed"):
        Settings.from_environment({"ALLOW_PICKLE": "yes"})


def test_a_bundle_whose_pages_fail_is_refused(
    settings: Settings, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is named, and what it raised."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    job = Job(bundles[0].sha256, str(bundles[0].path), None, Rules(), "", 60, 4096, False)
    good, bad = (ModelFile.open(job.sha256, job.path) for _ in range(2))
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    assert examine(job, good, None, tmp_path / "good", [], "") == Verdict()
    good.file.close()
    monkeypatch.setattr(model_card, "figures", fail)
    verdict = examine(job, bad, None, tmp_path / "bad", [], "")
    bad.file.close()
    assert (verdict.kind, verdict.reason) == (
        "rehearsal",
        "PageFailed: /model-card answers 500 with it (ZeroDivisionError)",
    )


def test_a_gate_that_raises_quotes_no_row(bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason goes into logs, and rows are borrowers'."""

    def fail(*_: object) -> None:
        raise ValueError("could not convert string to float: 'a borrower'")

    monkeypatch.setattr(examination, "judge", fail)
    first, second = bundles[:2]
    job = Job(second.sha256, str(second.path), (first.sha256, str(first.path)), Rules(), "", 60, 4096, False)
    files = ModelFile.open(second.sha256, str(second.path)), ModelFile.open(first.sha256, str(first.path))
    verdict = examine(job, *files, tmp_path, [], "")
    for each in files:
        each.file.close()
    assert verdict == Verdict("rehearsal", "ValueError while it was compared on logged rows")


def staged(
    settings: Settings, made: Published, *allow: str, champion: StateDir | None = None
) -> tuple[Outcome, Staging]:
    """Stage a model whose file is there already."""
    store = StateDir(settings.state_dir / "challenger" if champion else settings.state_dir)
    store.bundle(made.sha256).write_bytes(made.path.read_bytes())
    staging = Staging(store, settings, ModelClient("http://nowhere", max_bytes=1), None, champion, champion is not None)
    return staging.stage(PinnedVersion(made.sha256, "1", allow), keep=set()).outcome, staging


def test_a_pin_lifts_gates_and_a_model_that_answered_before_passes_them_all(
    settings: Settings, bundles: list[Made], inverted: Published, log: Written
) -> None:
    """It is warned of, without reading the log."""
    store = StateDir(settings.state_dir)
    make_current(store, bundles[0])
    assert staged(settings, inverted)[0] is Outcome.REFUSED
    assert staged(settings, inverted, "contract")[0] is Outcome.REFUSED
    outcome, staging = staged(settings, inverted, "scores")
    assert (outcome, staging.evidence["warnings"][0][:6]) == (Outcome.DONE, "scores")
    store.remember(inverted.sha256, proven=False)
    outcome, staging = staged(settings, inverted)
    assert (outcome, staging.evidence["not_compared"]) == (Outcome.DONE, "it answered here before")


def test_a_challenger_is_told_of_its_scores_and_refused_for_its_contract(
    settings: Settings, bundles: list[Made], inverted: Published, log: Written, tmp_path: Path
) -> None:
    """It does not answer, so its probabilities may differ."""
    champion = StateDir(settings.state_dir)
    make_current(champion, bundles[0])
    outcome, staging = staged(settings, inverted, champion=champion)
    assert (outcome, staging.evidence["warnings"][0][:6]) == (Outcome.DONE, "scores")
    frame, labels = make_book()
    frame["amount"] /= 1e6
    other = publish(
        make_logistic().fit(frame, labels),
        frame,
        labels,
        tmp_path / "o.bundle",
        author=Author("other", "Other", "late"),
    )
    assert staged(settings, other, champion=champion)[0] is Outcome.REFUSED
    assert staged(settings, other, "contract", champion=champion)[0] is Outcome.DONE
