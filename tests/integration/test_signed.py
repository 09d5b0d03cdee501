"""Only what a trusted key signed, and only the newest of it, against real processes and a model service that lies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import pytest

from modelbundle.format import statement
from modelbundle.format.archive import digest
from tests.conftest import LOAN, Made, make_book, make_logistic
from tests.integration.system import ROOT, System, running, until


@dataclass
class Signed:
    """A running system that trusts one key."""

    system: System
    private: Path
    public: Path
    bundles: list[Made]

    def put(self, number: int, sequence: int, key: Path | None = None) -> None:
        """Sign a model anew and pin it."""
        made = self.bundles[number]
        statement.sign_file(self.system.models / made.path.name, key or self.private, sequence)
        self.system.pin(made.path.name, made.sha256)

    def refused(self, reason: str) -> None:
        """Wait until the pinned model is refused with ``reason``; what answered before goes on."""

        def told() -> bool:
            refusal = self.system.readyz()[1]["refusal"]
            return bool(refusal and reason in refusal["reason"])

        until(told, 20, f"refused: {reason}")


@pytest.fixture
def signed(tmp_path: Path, bundles: list[Made]) -> Iterator[Signed]:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    statement.make_keys(private, public)
    with running(tmp_path, MODEL_PUBLIC_KEY_FILE=str(public)) as system:
        for made in bundles:
            (system.models / made.path.name).write_bytes(made.path.read_bytes())
        yield Signed(system, private, public, bundles)


def started(signed: Signed) -> System:
    """The first model answers, by statement 10."""
    signed.put(0, 10)
    signed.system.start_model()
    signed.system.start_predict()
    signed.system.serving(signed.bundles[0].sha256)
    return signed.system


def test_an_unsigned_model_never_answers(signed: Signed) -> None:
    """Not even at the first start; signing it brings it in."""
    made = signed.bundles[0]
    signed.system.pin(made.path.name, made.sha256)
    signed.system.start_model()
    signed.system.start_predict(ready=False)
    signed.refused("not signed")
    assert signed.system.post(LOAN)[0] == 503
    signed.put(0, 1)
    signed.system.serving(made.sha256)
    assert signed.system.post(LOAN)[0] == 200


@pytest.mark.attack("statements")
def test_a_stranger_s_signature_and_an_old_one_are_refused(signed: Signed, tmp_path: Path) -> None:
    """A signature proves who made it; the sequence, that it is wanted now. A new statement brings the old model back."""
    system = started(signed)
    first, second = (made.sha256 for made in signed.bundles[:2])
    stranger = tmp_path / "stranger.pem"
    statement.make_keys(stranger, tmp_path / "stranger-public.pem")
    signed.put(1, 99, stranger)
    signed.refused("none of the keys")
    assert system.post(LOAN)[2]["model_version"] == first
    signed.put(1, 11)
    system.serving(second)
    signed.put(0, 10)  # the very statement that was accepted once
    signed.refused("sequence is 10, and 11 was accepted before")
    assert system.post(LOAN)[2]["model_version"] == second
    signed.put(0, 12)
    system.serving(first)


@pytest.mark.slow
@pytest.mark.attack("pickles")
def test_a_pickle_is_taken_only_with_a_statement(signed: Signed) -> None:
    """``ALLOW_PICKLE`` is as it comes."""
    system = started(signed)
    frame, labels = make_book()
    frame = frame.drop(columns="emp_length")
    joblib.dump(make_logistic().fit(frame, labels), system.models / "own.joblib")
    sha256 = digest((system.models / "own.joblib").read_bytes())
    system.pin("own.joblib", sha256)
    signed.refused("not signed")
    statement.sign_file(system.models / "own.joblib", signed.private, 20, allow=("contract",))
    system.pin("own.joblib", sha256)
    system.serving(sha256)


@pytest.mark.slow
def test_the_sequence_outlives_the_state(signed: Signed) -> None:
    """STATE_DIR is disposable; what was accepted is remembered beside it."""
    system = started(signed)
    signed.put(1, 20)
    system.serving(signed.bundles[1].sha256)
    system.stop_predict()
    subprocess.run(["rm", "-r", str(system.state)], check=True)
    signed.put(0, 19)
    system.pinned(signed.bundles[0].sha256)
    system.start_predict(ready=False)
    signed.refused("sequence is 19, and 20 was accepted before")
    assert system.post(LOAN)[0] == 503
    signed.put(1, 20)
    system.serving(signed.bundles[1].sha256)


@pytest.mark.slow
def test_a_restart_without_the_model_service_checks_again(signed: Signed) -> None:
    """The last known good answers while its key is trusted, and not when the key was withdrawn."""
    system = started(signed)
    system.stop_predict()
    system.stop_model()
    system.start_predict()
    assert system.post(LOAN)[0] == 200
    system.stop_predict()
    other, public = signed.private.with_name("other.pem"), signed.private.with_name("other-public.pem")
    statement.make_keys(other, public)
    signed.public.write_bytes(public.read_bytes())
    system.start_predict(ready=False)
    status, _, body = system.post(LOAN)
    assert status == 503
    assert "none of the keys" in body["detail"] or "starting" in body["detail"]
    until(lambda: "none of the keys" in system.post(LOAN)[2]["detail"], 20, "the reason is said")
    signed.put(0, 30, other)
    system.start_model()
    system.serving(signed.bundles[0].sha256)


@pytest.mark.slow
def test_keys_are_exchanged_without_a_restart(signed: Signed) -> None:
    """Both trusted, the model signed anew with the new one, the old one withdrawn; it answers all the while."""
    system = started(signed)
    other, public = signed.private.with_name("other.pem"), signed.private.with_name("other-public.pem")
    statement.make_keys(other, public)
    signed.public.write_bytes(signed.public.read_bytes() + public.read_bytes())
    signed.put(0, 40, other)
    ledger = system.root / "data" / "statement.json"
    until(lambda: '"sequence": 40' in ledger.read_text("utf-8"), 20, "the newer statement is known")
    signed.public.write_bytes(public.read_bytes())
    signed.put(1, 41, other)
    system.serving(signed.bundles[1].sha256)
    system.stop_predict()
    system.start_predict()
    assert system.post(LOAN)[2]["model_version"] == signed.bundles[1].sha256


def test_keys_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    """Said in one line."""
    (tmp_path / "keys.pem").write_text("no key", "utf-8")
    environment = {"MODEL_PUBLIC_KEY_FILE": str(tmp_path / "keys.pem"), "STATE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-m", "services.predict"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert "must hold 1 to 64 public keys in PEM" in ran.stderr
    assert "Traceback" not in ran.stderr
