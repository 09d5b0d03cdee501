"""Keys: who may ask, who did, and what happens when the file changes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from services.predict.api import api_keys
from services.predict.api.api_keys import Keys
from services.predict.app import create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.api.test_predict import assert_problem, post


def line(name: str, key: str) -> str:
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n"


def found(keys: Keys, key: str) -> str | None:
    own = keys.find(key)
    return own and own.name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# who may ask\n\n" + line("shop", "first-key") + line("risk.desk", "second-key"), "utf-8")
    return path


@pytest.fixture
def keyed(file: Path, settings: Settings, store: StateDir, bundles: list[Made]) -> FlaskClient:
    make_current(store, bundles[0])
    store.settle()
    return create_app(replace(settings, api_keys_file=str(file)), store).flask.test_client()


def test_a_key_in_either_header(keyed: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    """The log names who asked, and never what the key is."""
    assert post(keyed, LOAN, Authorization="Bearer first-key").status_code == 200
    assert post(keyed, LOAN, **{"X-API-Key": "second-key"}).status_code == 200
    logged = capfd.readouterr().out
    assert [json.loads(entry)["key"] for entry in logged.splitlines()] == ["shop", "risk.desk"]
    assert "first-key" not in logged


def test_without_one_401_with_a_wrong_one_403(keyed: FlaskClient) -> None:
    """On every way to a score, before anything of the body is read; what only reads is open."""
    for path in ("/predict", "/invocations", "/v2/models/first/infer"):
        response = keyed.post(path, json=LOAN)
        assert_problem(response, 401)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        for key in ("third-key", "first-key ", "shop", "", "\xff", "x" * 100000):
            sent = {"X-API-Key": key}
            assert_problem(keyed.post(path, json=LOAN, headers=sent), 403 if key.strip() else 401)
    for path in ("/readyz", "/healthz", "/model", "/openapi.json", "/docs", "/v2"):
        assert keyed.get(path).status_code == 200


def test_a_change_in_the_tick_of_another_is_seen(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written in place, as long as before, under the same times: the file is read again until the tick has passed, no longer."""
    clock = [100.0]
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(api_keys, "_state", lambda _: "as before")
    keys = Keys(file)
    file.write_text(line("shop", "third-key"), "utf-8")
    clock[0] += api_keys.TICK
    assert (found(keys, "third-key"), found(keys, "first-key")) == ("shop", None)
    file.write_text(line("shop", "other-key"), "utf-8")
    assert found(keys, "third-key") == "shop"


def test_the_file_is_followed(keyed: FlaskClient, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A new key works, a key that was taken out does not; a broken file changes nothing and is said once."""
    file.write_text(line("shop", "third-key"), "utf-8")
    assert post(keyed, LOAN, Authorization="Bearer third-key").status_code == 200
    assert post(keyed, LOAN, Authorization="bearer first-key").status_code == 403
    file.write_text("shop not-a-hash\n", "utf-8")
    capfd.readouterr()
    for _ in range(2):
        assert post(keyed, LOAN, Authorization="Bearer third-key").status_code == 200
    events = [json.loads(entry) for entry in capfd.readouterr().out.splitlines()]
    assert ["line 1" in event["trouble"] for event in events if event["event"] == "keys"] == [True]
    file.unlink()
    assert post(keyed, LOAN, Authorization="Bearer third-key").status_code == 200
    file.write_text(line("shop", "fourth-key"), "utf-8")
    assert post(keyed, LOAN, Authorization="Bearer fourth-key").status_code == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no keys"),
        ("a b\n", "line 1"),
        (line("a", "k") + "a " + "0" * 63 + "\n", "line 2"),
        ("x" * (1 << 20) + "x", "larger"),
        ("a " + "A" * 64, "line 1"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content, "utf-8")
    with pytest.raises(api_keys.KeysError, match=words):
        api_keys.Keys(path)


def test_the_api_does_not_start_without_its_keys(tmp_path: Path) -> None:
    """A file that is named and not there must not let everyone in."""
    environment = {**os.environ, "API_KEYS_FILE": str(tmp_path / "none"), "STATE_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-m", "services.predict"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "none" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_made_key_opens(tmp_path: Path) -> None:
    """What the command prints is what the file takes."""
    command = [sys.executable, "-m", "services.predict.api.api_keys", "night-batch"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    path = tmp_path / "keys"
    path.write_text(made.stdout, "utf-8")
    key = made.stderr.splitlines()[0].split()[-1]
    assert found(api_keys.Keys(path), key) == "night-batch"
    assert key not in made.stdout
