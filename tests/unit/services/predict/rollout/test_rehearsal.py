"""The rehearsal in its process: the gates run there, on the rows that the log has."""

from __future__ import annotations

from pathlib import Path

import joblib
import pytest

from modelbundle.format import bundle
from modelbundle.format.archive import digest
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import Published, publish
from services.predict.rollout import rehearsal
from services.predict.rollout.model_client import ModelClient
from services.predict.rollout.protocol import Outcome, PinnedVersion
from services.predict.rollout.rehearsal import RehearsalFailed, rehearse
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
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
        hangs = "services.predictionlog.recent" in command
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


def test_a_model_that_ends_the_process_in_good_order_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Only a verdict lets a model through."""
    path = tmp_path / "leaves.joblib"
    joblib.dump(Leaves(), path)
    with pytest.raises(RehearsalFailed, match="ended the process"):
        rehearse((digest(path.read_bytes()), path), settings)


def staged(
    settings: Settings, made: Published, *allow: str, champion: StateDir | None = None
) -> tuple[Outcome, Staging]:
    """Stage a model whose file is there already."""
    store = StateDir(settings.state_dir / "challenger" if champion else settings.state_dir)
    store.bundle(made.sha256).write_bytes(made.path.read_bytes())
    staging = Staging(store, settings, ModelClient("http://nowhere", max_bytes=1), None, champion)
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
