"""The model service: which pins it takes, and what it hands out."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from services.model import pin as pins
from services.model.app import create_app
from services.model.pin import Pin, PinError
from services.model.shelf import Directory
from services.model.vault import Vault, read_verified

CONTENT = b"the model's bytes"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "a.bundle").write_bytes(CONTENT)
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "no pin"),
        ({"MODEL_FILE_NAME": "a.bundle"}, "no pin"),
        ({"MODEL_FILE_NAME": "a.bundle", "MODEL_SHA256": SHA, "MODEL_PIN_FILE": "x"}, "not both"),
        ({"MODEL_FILE_NAME": "../a.bundle", "MODEL_SHA256": SHA}, "plain name"),
        ({"MODEL_FILE_NAME": ".hidden", "MODEL_SHA256": SHA}, "plain name"),
        ({"MODEL_FILE_NAME": "a.bundle", "MODEL_SHA256": "abc"}, "64 hexadecimal"),
        ({"MODEL_PIN_FILE": "/does/not/exist"}, "cannot be read"),
    ],
)
def test_a_pin_that_cannot_be_one_is_refused_at_start(environment: dict[str, str], words: str) -> None:
    """With what was expected."""
    with pytest.raises(PinError, match=words):
        pins.from_environment(environment)


def test_the_bytes_must_hash_to_the_pin(models: Path) -> None:
    """The error has both hashes."""
    with pytest.raises(PinError, match=f"expected SHA-256 {'0' * 64}, found {SHA}"):
        read_verified(Directory(models), Pin.make("a.bundle", "0" * 64), 1000)


@pytest.mark.parametrize("name", ["missing", "folder", "pipe", "large"])
def test_what_is_no_plain_small_file_is_refused(models: Path, name: str) -> None:
    """A directory, a pipe that would hang the reader, more bytes than allowed."""
    (models / "folder").mkdir()
    os.mkfifo(models / "pipe")
    (models / "large").write_bytes(bytes(1001))
    with pytest.raises(PinError, match=name):
        read_verified(Directory(models), Pin.make(name, SHA), 1000)


def test_the_bytes_are_handed_out_under_their_hash(models: Path) -> None:
    """A strong ETag, 304 on a match, and a digest of the representation."""
    client = create_app(Vault(Directory(models), Pin.make("a.bundle", SHA), None, 1000)).test_client()
    response = client.get("/bundle")
    assert response.data == CONTENT
    assert response.headers["ETag"] == f'"{SHA}"'
    assert response.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"
    again = client.get("/bundle", headers={"If-None-Match": f'"{"1" * 64}", "{SHA}"'})
    assert again.status_code == 304
    assert again.data == b""
    assert again.headers["ETag"] == f'"{SHA}"'
    assert again.headers["X-Pin-Id"] == response.headers["X-Pin-Id"]
    assert client.get("/statement").status_code == 404
    assert client.get("/nowhere").mimetype == "application/problem+json"


def test_a_pin_file_is_followed_and_a_bad_pin_keeps_the_old_model(models: Path) -> None:
    """What is pinned, what is served and why not are told apart; a pinned file that comes later is found."""
    other = b"another model"
    sha256 = hashlib.sha256(other).hexdigest()
    file = models / "pin.json"
    file.write_text(json.dumps({"file": "a.bundle", "sha256": SHA}))
    pin, path = pins.from_environment({"MODEL_PIN_FILE": str(file)})
    vault = Vault(Directory(models), pin, path, 1000)
    client = create_app(vault).test_client()
    file.write_text(json.dumps({"file": "b.bundle", "sha256": sha256}))
    vault.look()
    facts = client.get("/pin").get_json()
    assert facts["pinned"] == {"file": "b.bundle", "sha256": sha256}
    assert facts["serving"]["sha256"] == SHA
    assert "b.bundle" in facts["why_not"]
    assert client.get("/bundle").data == CONTENT
    (models / "b.bundle").write_bytes(other)
    vault._again = 0.0
    vault.look()
    assert client.get("/bundle").data == other
    assert client.get("/pin").get_json()["why_not"] is None
    file.write_text("{")
    vault.look()
    assert client.get("/pin").get_json()["why_not"] == "the pin file is not JSON"
    assert client.get("/bundle").data == other


def test_setting_a_pin_again_is_another_pin(models: Path) -> None:
    """So that what was refused is tried again when somebody asks for it again."""
    assert Pin.make("a.bundle", SHA).id != Pin.make("a.bundle", SHA).id
