"""The challenger's parts: which rows fit it, what is shed, and when it is refused."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from modelbundle.format import bundle
from services.predict.challenger import process
from services.predict.challenger.process import ChallengerProcess, Ended, Refused
from services.predict.challenger.status import ChallengerStatus
from services.predict.gates import replay
from services.predict.gates.gate import Verdict
from services.predict.rollout import staging
from services.predict.rollout.model_client import ServedPins
from services.predict.rollout.protocol import PinnedVersion
from services.predict.settings import Settings
from services.predictionlog import database, record
from services.predictionlog.challenger_queue import Queue
from tests.conftest import LOAN, Made
from tests.unit.services.logs import logged
from tests.unit.services.predict.rollout.test_leader import Files, World


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Rehearsals pass, and no process is ended by its clock."""
    monkeypatch.setattr(staging, "rehearse", lambda *_: Verdict())
    monkeypatch.setattr(signal, "alarm", lambda _: 0)
    return settings


def make(settings: Settings, made: Made, own: str = "1") -> ChallengerProcess:
    """A process that has just started, with a model service that pins ``made``."""
    client = Files(World())
    client.serves = (PinnedVersion(made.sha256, own), made.path.read_bytes())
    return ChallengerProcess(settings, client)


def ship(settings: Settings, rows: list[dict[str, Any]], name: str = "1") -> None:
    """What the shipper does: into the database, and on into the queue."""
    answers = [
        {
            "prediction_id": f"{name}-{i}",
            "model_version": "a" * 64,
            "id": None,
            "predict_proba": [0.5, 0.5],
            "band": "low",
            "reasons": [],
            "warnings": [],
        }
        for i in range(len(rows))
    ]
    lines = b"".join(
        logged({name: [value] for name, value in row.items()}, [answer])
        for row, answer in zip(rows, answers, strict=True)
    )
    engine = database.connect(settings.prediction_log_url)
    database.migrate(engine)
    database.insert(engine, [row for line in lines.splitlines() for row in record.decode(line).rows()])
    folder = settings.data_dir / "spool" / "writer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.segment").write_bytes(lines)
    assert Queue.of_spool(settings.data_dir / "spool").offer(folder / f"{name}.segment", len(rows))


def challenges(settings: Settings) -> dict[str, float]:
    with database.connect(settings.prediction_log_url).connect() as connection:
        found = connection.execute(sa.select(database.challenges.c.prediction_id, database.challenges.c.probability))
        return {row[0]: row[1] for row in found}


def test_rows_fit_or_do_not(bundles: list[Made]) -> None:
    """What the schema does not know is left out; what lacks something, or is of another kind, is no row of this model's."""
    model = bundle.read(bundles[1].path)
    expected = model.answer(model.validator.record(LOAN).row).predict_proba[1]
    lacking = {name: value for name, value in LOAN.items() if name != "amount"}
    rows = [LOAN, {**LOAN, "colour": "red"}, lacking, {**LOAN, "grade": 3.0}, LOAN]
    assert replay.last_class(model, rows) == [expected, expected, None, None, expected]
    assert replay.last_class(model, [lacking]) == [None]


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(tmp_path: Path) -> None:
    """Shed first: the log itself goes on. Nobody waiting, nothing is handed over."""
    spool = tmp_path / "spool" / "w"
    spool.mkdir(parents=True)
    queue = Queue(tmp_path / "challenger" / "queue", max_bytes=25)

    def offer(number: int) -> bool:
        path = spool / f"{number}.segment"
        path.write_bytes(b"0123456789")
        return queue.offer(path, rows=3) or bool(path.unlink())

    assert not offer(1)
    queue.open()
    assert [offer(n) for n in (2, 3, 4, 5)] == [True, True, False, False]
    assert (queue.dropped(), queue.size()) == (6, 20)
    queue.segments()[0].unlink()
    assert offer(6)
    queue.close()
    assert (queue.dropped(), queue.is_open()) == (0, False)


def test_misfits_are_counted_and_figures_survive_a_restart(settings: Settings, bundles: list[Made]) -> None:
    """The next process goes on counting; another challenger begins at nothing."""
    process = make(settings, bundles[1])
    process.round()
    ship(settings, [LOAN, {"amount": 1.0}])
    process.round()
    again = make(settings, bundles[1])
    again.round()
    ship(settings, [LOAN], "2")
    again.round()
    facts = ChallengerStatus(settings).report("1")
    assert facts is not None
    assert (facts["state"], facts["scored"], facts["misfits"]) == ("scoring", 2, 1)
    assert sorted(challenges(settings)) == ["1-0", "2-0"]
    other = make(settings, bundles[0], "2")
    other.round()
    assert ChallengerStatus(settings).report("1") == {**ChallengerStatus(settings).report("3")}, (
        "of an older pin nothing is said"
    )  # type: ignore[dict-item]
    facts = ChallengerStatus(settings).report("2")
    assert facts is not None
    assert (facts["scored"], facts["model_version"]) == (0, bundles[0].sha256)


def test_one_that_dies_of_a_row_again_and_again_is_refused(
    settings: Settings, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each death is found in the journal by the next process; one that scores forgets them."""

    class Killed(BaseException):
        pass

    def dies(*_: Any) -> None:
        raise Killed

    good = replay.last_class
    make(settings, bundles[1]).round()
    for deaths in (2, 4):
        ship(settings, [LOAN], str(deaths))
        monkeypatch.setattr(process, "last_class", dies)
        for _ in range(deaths - 1):
            with pytest.raises(Killed):
                make(settings, bundles[1]).round()
        monkeypatch.setattr(process, "last_class", good)
        if deaths == 2:
            make(settings, bundles[1]).round()
            assert "2-0" in challenges(settings), "a chance kill refused it"
    with pytest.raises(Ended, match="none ended"):
        make(settings, bundles[1]).round()
    standing = ChallengerStatus(settings)
    facts = standing.report("1")
    assert facts is not None
    assert facts["state"] == "refused"
    with pytest.raises(Ended, match="none ended"):
        make(settings, bundles[1]).round()
    make(settings, bundles[1], "2").round()
    assert standing.report("2")["state"] == "scoring"  # type: ignore[index]


def test_an_error_while_scoring_is_a_refusal(
    settings: Settings, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its type is said, never its text: it may hold a row."""

    def fails(*_: Any) -> None:
        raise ValueError("a borrower's secret")

    process = make(settings, bundles[1])
    process.round()
    ship(settings, [LOAN])
    monkeypatch.setattr("services.predict.challenger.process.last_class", fails)
    with pytest.raises(Ended, match=r"^scoring ended with ValueError$"):
        process.round()


def test_a_challenger_that_is_no_more_leaves_nothing(
    settings: Settings, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is called for while one is wanted, or its queue is left; then none is."""
    standing = ChallengerStatus(settings)
    assert (standing.calls(None), standing.calls("1")) == (False, True)
    process = make(settings, bundles[1])
    process.round()
    assert standing.calls(None)

    champion = PinnedVersion("a" * 64, "1")
    told = [ServedPins(champion, None, "it is being read"), ServedPins(champion)]
    monkeypatch.setattr(process.client, "poll", lambda _: told.pop(0))
    process.follow()
    assert process.troubles == {"challenger waits": "it is being read"}
    with pytest.raises(Ended, match="no challenger") as ended:
        process.follow()
    process.end(str(ended.value))
    assert not standing.calls(None)
    assert list(process.store.bundles.iterdir()) == []
    assert process.store.status() == {}


@pytest.mark.parametrize(("ended", "code"), [(Ended("no challenger is pinned"), 0), (Refused("golden row 3"), 1)])
def test_a_refusal_counts_as_a_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ended: Ended, code: int
) -> None:
    """So the supervisor starts the next ones after a pause that doubles, where a model service has other ones for ever."""

    def rounds(_: ChallengerProcess) -> bool:
        raise ended

    monkeypatch.setattr(process.Settings, "from_environment", lambda: settings)
    monkeypatch.setattr(process, "lower_priority", lambda _: None)
    monkeypatch.setattr(process, "be", lambda *_: 1)
    monkeypatch.setattr(process.select, "select", lambda *_: ([], [], []))
    monkeypatch.setattr(ChallengerProcess, "round", rounds)
    assert process.main() == code
