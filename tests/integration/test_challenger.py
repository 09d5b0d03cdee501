"""A challenger is scored silently: what it says is in the log, and nothing that it does reaches an answer."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import joblib
import pytest

from modelbundle.format import bundle, statement
from tests.conftest import LOAN, Made
from tests.integration.system import Load, System, until
from tests.integration.test_predictionlog import command, database
from tests.integration.test_swap import damaged


def challenge(system: System, champion: Made, name: str, content: bytes) -> str:
    """Put a file beside the models and make it the challenger; its SHA-256."""
    (system.models / name).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    system.pin(champion.path.name, champion.sha256, (name, sha256))
    return sha256


def standing(system: System) -> dict[str, Any]:
    return system.readyz()[1]["challenger"] or {}


def reaches(system: System, state: str, sha256: str, seconds: float = 30) -> dict[str, Any]:
    """Wait until the challenger is in a state; how it stands."""
    found: dict[str, Any] = until(
        lambda: (f := standing(system)).get("state") == state and f["model_version"] == sha256 and f,
        seconds,
        f"the challenger is {state}",
    )
    return found


def said(system: System) -> dict[str, float]:
    """What challengers said, by prediction."""
    with sqlite3.connect(database(system), timeout=10) as connection:
        return dict(connection.execute("SELECT prediction_id, probability FROM challenges"))


def scorer(system: System) -> int:
    """The process that scores."""
    return next(iter(system.called("challenger")), 0)


@pytest.mark.slow
def test_a_challenger_is_scored_with_the_bits_that_it_would_answer(serving: System, bundles: list[Made]) -> None:
    """One row for each answered loan, and the answers are the champion's; taken away, everything of it is gone but the log."""
    champion, other = bundles[:2]
    challenge(serving, champion, other.path.name, other.path.read_bytes())
    reaches(serving, "scoring", other.sha256)
    loans = [{**LOAN, "id": f"loan-{i}", "amount": 1000.0 * i} for i in range(1, 21)]
    _, headers, answer = serving.post(loans)
    assert headers["x-model-version"] == champion.sha256
    model = bundle.read(other.path)
    expected = {
        p["prediction_id"]: model.answer(model.validator.record(loan).row).predict_proba[1]
        for p, loan in zip(answer["predictions"], loans, strict=True)
    }
    until(lambda: len(said(serving)) == 20, 20, "all are scored")
    assert said(serving) == expected
    facts = until(lambda: (f := standing(serving)).get("scored") == 20 and f, 10, "it is counted")
    differences = [abs(expected[p["prediction_id"]] - p["predict_proba"][1]) for p in answer["predictions"]]
    assert facts["mean_difference"] == pytest.approx(sum(differences) / 20, abs=1e-8)
    assert (facts["misfits"], facts["dropped"], facts["why_not"]) == (0, 0, None)
    assert 0 <= facts["same_band"] <= 1
    models = str(champion.path.parent)
    (story,) = json.loads(command(serving, "audit", "loan-3", "--models", models).stdout)
    assert [c["model_version"] for c in story["challenges"]] == [other.sha256]
    assert command(serving, "erase", "--record-id", "loan-3").returncode == 0
    assert len(said(serving)) == 19
    serving.pin(champion.path.name, champion.sha256)
    until(lambda: serving.readyz()[1]["challenger"] is None and not scorer(serving), 20, "the process ended")
    assert not (serving.root / "data" / "challenger" / "queue").exists()
    assert serving.readyz()[1]["generation"] == 1


@pytest.mark.slow
def test_a_refused_challenger_harms_nobody(serving: System, bundles: list[Made]) -> None:
    """Bad golden rows, then one that kills who loads it: why stands at /readyz; the champion answers, ready and confirmed; and
    the next challenger is taken."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[int]]:
            return signal.raise_signal, (signal.SIGKILL,)

    champion, other = bundles[:2]
    golden = other.published.manifest["golden"]
    wrong = damaged(other, golden={**golden, "scores": [*golden["scores"][:-1], golden["scores"][-1] + 1e-9]})
    joblib.dump(Bomb(), serving.root / "bomb")
    bomb = (serving.root / "bomb").read_bytes()
    with Load(serving.port, LOAN, clients=2) as load:
        for name, content, words in (("wrong.bundle", wrong, "golden row 63"), ("bomb.joblib", bomb, "SIGKILL")):
            facts = reaches(serving, "refused", challenge(serving, champion, name, content))
            assert words in facts["why_not"]
            status, ready = serving.readyz()
            assert (status, ready["confirmed"], ready["refusal"]) == (200, True, None)
    assert load.failed() == []
    assert {a.version for a in load.answers} == {champion.sha256}
    challenge(serving, champion, other.path.name, other.path.read_bytes())
    reaches(serving, "scoring", other.sha256)


@pytest.mark.slow
def test_a_killed_challenger_comes_back_and_misses_nothing(serving: System, bundles: list[Made]) -> None:
    """kill -9 of its process: another one takes up what waits; the workers are the same."""
    champion, other = bundles[:2]
    challenge(serving, champion, other.path.name, other.path.read_bytes())
    reaches(serving, "scoring", other.sha256)
    workers = serving.workers()
    ids = set()
    for _ in range(2):
        old = scorer(serving)
        os.kill(old, signal.SIGKILL)
        ids |= {p["prediction_id"] for p in serving.post([LOAN] * 50)[2]["predictions"]}
        until(lambda old=old: scorer(serving) not in (0, old), 30, "another process")
    until(lambda: set(said(serving)) == ids, 30, "all are scored")
    assert serving.workers() == workers


@pytest.mark.slow
def test_a_challenger_s_statement_never_lets_it_answer(system: System, bundles: list[Made], tmp_path: Path) -> None:
    """Signed as challenger it is scored, raises no champion's sequence, and pinned as champion it is refused; an older
    challenger is refused as one."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    statement.make_keys(private, public)
    system.environment["MODEL_PUBLIC_KEY_FILE"] = str(public)
    champion, other = bundles[:2]
    for made in bundles[:2]:
        (system.models / made.path.name).write_bytes(made.path.read_bytes())
    statement.sign_file(system.models / champion.path.name, private, 10)
    system.start_model()
    system.start_predict()
    system.pin(champion.path.name, champion.sha256, (other.path.name, other.sha256))
    assert "not signed" in reaches(system, "refused", other.sha256)["why_not"]

    def sign(sequence: int) -> None:
        statement.sign_file(system.models / other.path.name, private, sequence, statement.CHALLENGER)
        system.pin(champion.path.name, champion.sha256, (other.path.name, other.sha256))

    sign(30)
    reaches(system, "scoring", other.sha256)
    assert json.loads((system.root / "data" / "statement.json").read_text("utf-8"))["sequence"] == 10
    signature = system.models / f"{other.path.name}.challenger.sig"
    (system.models / f"{other.path.name}.sig").write_bytes(signature.read_bytes())
    system.pin(other.path.name, other.sha256)
    refusal = until(lambda: system.readyz()[1]["refusal"], 20, "it is refused")
    assert "not about a champion" in refusal["reason"]
    assert system.post(LOAN)[1]["x-model-version"] == champion.sha256
    until(lambda: not scorer(system), 20, "the process ended")
    sign(29)
    refused = reaches(system, "refused", other.sha256)
    assert "sequence is 29, and 30 was accepted before" in refused["why_not"]


def test_without_a_log_there_is_no_challenger(system: System, bundles: list[Made]) -> None:
    """And /readyz says why."""
    system.environment["PREDICTION_LOG_URL"] = "none"
    system.start_model()
    challenge(system, bundles[0], bundles[1].path.name, bundles[1].path.read_bytes())
    system.start_predict()
    facts = until(lambda: standing(system), 10, "it is heard of")
    assert facts["state"] == "off"
    assert "nothing is logged" in facts["why_not"]
    assert not scorer(system)
