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
from services.model.pin import Pin, PinError, Pins
from services.model.pinned_model import PinnedModels, read_verified
from services.model.storage import Directory

CONTENT = b"the model's bytes"
SHA = hashlib.sha256(CONTENT).hexdigest()
OTHER = b"another model"
OTHER_SHA = hashlib.sha256(OTHER).hexdigest()
PINNED = {"file": "a.bundle", "sha256": SHA}


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
        (
            {"MODEL_FILE_NAME": "a.bundle", "MODEL_SHA256": SHA, "MODEL_ALLOW": "contrat"},
            "some of contract, scores, pro",
        ),
        ({"MODEL_PIN_FILE": "x", "MODEL_ALLOW": "scores"}, "not both"),
        ({"MODEL_PIN_FILE": "/does/not/exist"}, "cannot be read"),
        ({"MODEL_PIN_FILE": "/does/not/exist", "CHALLENGER_FILE_NAME": "a.bundle"}, "member of that file"),
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
    client = create_app(PinnedModels(Directory(models), Pins(Pin.make("a.bundle", SHA)), None, 1000)).test_client()
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
    file.write_text(json.dumps({"file": "a.bundle", "sha256": SHA}), "utf-8")
    wanted, path = pins.from_environment({"MODEL_PIN_FILE": str(file)})
    pinned = PinnedModels(Directory(models), wanted, path, 1000)
    client = create_app(pinned).test_client()
    file.write_text(json.dumps({"file": "b.bundle", "sha256": sha256}), "utf-8")
    pinned.look()
    facts = client.get("/pin").get_json()
    assert facts["pinned"] == {"file": "b.bundle", "sha256": sha256, "allow": []}
    assert facts["serving"]["sha256"] == SHA
    assert "b.bundle" in facts["why_not"]
    assert client.get("/bundle").data == CONTENT
    (models / "b.bundle").write_bytes(other)
    pinned._again = 0.0
    pinned.look()
    assert client.get("/bundle").data == other
    assert client.get("/pin").get_json()["why_not"] is None
    file.write_text("{", "utf-8")
    pinned.look()
    assert client.get("/pin").get_json()["why_not"] == "the pin file is not JSON"
    assert client.get("/bundle").data == other


def test_a_pin_is_noticed_where_file_times_are_coarse(models: Path) -> None:
    """A pin of the same length, written into the same file within one tick of the file system's clock."""
    (models / "b.bundle").write_bytes(OTHER)
    file = models / "pin.json"
    file.write_text(json.dumps({"file": "a.bundle", "sha256": SHA}), "utf-8")
    wanted, path = pins.from_environment({"MODEL_PIN_FILE": str(file)})
    pinned = PinnedModels(Directory(models), wanted, path, 1000)
    before = file.stat()
    file.write_text(json.dumps({"file": "b.bundle", "sha256": OTHER_SHA}), "utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    pinned.look()
    assert pinned.served.pin.file == "b.bundle"


def test_setting_a_pin_again_is_another_pin(models: Path) -> None:
    """So that what was refused is tried again when somebody asks for it again."""
    assert Pin.make("a.bundle", SHA).id != Pin.make("a.bundle", SHA).id


class Shop:
    """A pinned on a pin file, and a client of its service; ``write`` sets the pins and looks, as the threads do."""

    def __init__(self, models: Path) -> None:
        (models / "b.bundle").write_bytes(OTHER)
        self.file = models / "pin.json"
        self.file.write_text(json.dumps(PINNED), "utf-8")
        wanted, path = pins.from_environment({"MODEL_PIN_FILE": str(self.file)})
        self.pinned = PinnedModels(Directory(models), wanted, path, 1000)
        self.client = create_app(self.pinned).test_client()
        self.pinned.challenger.look()

    def write(self, text: str) -> None:
        self.file.write_text(text, "utf-8")
        self.pinned.look()
        self.pinned.challenger.look()

    def challenge(self, challenger: object) -> None:
        self.write(json.dumps({**PINNED, "challenger": challenger}))


@pytest.fixture
def shop(models: Path) -> Shop:
    return Shop(models)


def test_a_challenger_is_handed_out_beside_the_champion(shop: Shop) -> None:
    """Bytes, ETag, 304, digest and statement as the champion has them; the champion's answers tell that there is one."""
    assert shop.client.get("/challenger").status_code == 404
    assert "X-Challenger-Id" not in shop.client.get("/bundle").headers
    champion = shop.client.get("/bundle").headers["X-Pin-Id"]
    (shop.file.parent / "b.bundle.challenger.sig").write_bytes(b"signed")
    shop.challenge({"file": "b.bundle", "sha256": OTHER_SHA})
    response = shop.client.get("/challenger")
    assert response.data == OTHER
    assert response.headers["ETag"] == f'"{OTHER_SHA}"'
    assert response.headers["Repr-Digest"].startswith("sha-256=:")
    assert shop.client.get("/challenger", headers={"If-None-Match": f'"{OTHER_SHA}"'}).status_code == 304
    assert shop.client.get("/challenger/statement").data == b"signed"
    facts = shop.client.get("/pin").get_json()["challenger"]
    served = {"file": "b.bundle", "sha256": OTHER_SHA, "allow": [], "share": 0.0}
    assert facts == {"pinned": served, "serving": served, "id": response.headers["X-Pin-Id"], "why_not": None}
    assert shop.client.get("/pin").get_json()["id"] == champion
    for headers in ({}, {"If-None-Match": f'"{SHA}"'}):
        told = shop.client.get("/bundle", headers=headers).headers
        assert told["X-Challenger-Id"] == response.headers["X-Pin-Id"]
        assert told["X-Pin-Id"] == champion, "setting a challenger set the champion's pin anew"
    shop.challenge(None)
    assert shop.client.get("/challenger").status_code == 404
    assert shop.client.get("/pin").get_json()["challenger"] == dict.fromkeys(("pinned", "serving", "id", "why_not"))


@pytest.mark.parametrize(
    ("challenger", "words"),
    [
        ("b.bundle", "must be"),
        ({"file": "b.bundle"}, "64 hexadecimal"),
        ({"file": "../b.bundle", "sha256": SHA}, "plain name"),
        ({"file": "b.bundle", "sha256": SHA}, f"expected SHA-256 {SHA}, found"),
        ({"file": "c.bundle", "sha256": SHA}, "c.bundle: cannot be read"),
    ],
)
def test_a_bad_challenger_stops_nobody(shop: Shop, challenger: object, words: str) -> None:
    """At start or later: it is not handed out, why stands at /pin, and the champion is handed out as before."""
    shop.challenge(challenger)
    assert words in shop.client.get("/pin").get_json()["challenger"]["why_not"]
    assert words in shop.client.get("/challenger").get_json()["detail"]
    assert shop.client.get("/challenger").status_code == 503
    assert shop.client.get("/bundle").data == CONTENT
    assert shop.client.get("/pin").get_json()["why_not"] is None
    restarted = PinnedModels(Directory(shop.file.parent), pins.read(shop.file), shop.file, 1000)
    restarted.challenger.look()
    assert words in (restarted.challenger.why_not or "")
    assert restarted.served.content == CONTENT


def test_a_challenger_whose_file_comes_later_is_found(shop: Shop) -> None:
    """It is tried again now and then."""
    (shop.file.parent / "b.bundle").rename(shop.file.parent / "c")
    shop.challenge({"file": "b.bundle", "sha256": OTHER_SHA})
    assert shop.client.get("/challenger").status_code == 503
    (shop.file.parent / "c").rename(shop.file.parent / "b.bundle")
    shop.pinned.challenger.look()
    assert shop.client.get("/challenger").data == OTHER


def test_another_champion_leaves_the_challenger_and_the_same_file_again_sets_both_anew(shop: Shop) -> None:
    """What was refused is tried again when somebody asks for it again; what nobody touched is not."""
    other = {"file": "b.bundle", "sha256": OTHER_SHA}
    shop.challenge(other)
    first = shop.pinned.served.pin.id, shop.pinned.challenger.served
    shop.challenge(other)
    assert shop.pinned.served.pin.id != first[0]
    assert shop.pinned.challenger.served not in (None, first[1])
    kept = shop.pinned.challenger.served
    shop.write(json.dumps({**other, "challenger": other}))
    assert shop.pinned.served.pin.sha256 == OTHER_SHA
    assert shop.pinned.challenger.served is kept
    shop.write("{")
    shop.write(json.dumps(other))
    assert shop.client.get("/pin").get_json()["why_not"] is None, "the file was mended"


def test_the_environment_names_a_challenger_too(models: Path) -> None:
    """Half of one is an error of the challenger's, not of the champion's."""
    own = {"MODEL_FILE_NAME": "a.bundle", "MODEL_SHA256": SHA}
    whole = pins.from_environment({**own, "CHALLENGER_FILE_NAME": "b.bundle", "CHALLENGER_SHA256": OTHER_SHA})[0]
    assert isinstance(whole.challenger, Pin)
    half = pins.from_environment({**own, "CHALLENGER_FILE_NAME": "b.bundle"})[0]
    assert "the challenger: the SHA-256 must be 64" in str(half.challenger)
    assert pins.from_environment(own)[0].challenger is None


def test_the_environment_says_which_gates_a_pin_lifts(models: Path) -> None:
    """Each role has an allowance of its own; a wrong word is an error of the role that has it."""
    own = {"MODEL_FILE_NAME": "a.bundle", "MODEL_SHA256": SHA, "MODEL_ALLOW": "scores, contract"}
    other = {"CHALLENGER_FILE_NAME": "b.bundle", "CHALLENGER_SHA256": OTHER_SHA}
    read = pins.from_environment({**own, **other, "CHALLENGER_ALLOW": "contract"})[0]
    assert isinstance(read.challenger, Pin)
    assert (read.champion.allow, read.challenger.allow) == (("contract", "scores"), ("contract",))
    wrong = pins.from_environment({**own, **other, "CHALLENGER_ALLOW": "everything"})[0]
    assert "the challenger: the allowance must be some of" in str(wrong.challenger)


@pytest.mark.parametrize("allow", ["contract", [1], [[]], {"contract": True}, 7, ["contract", "x"]])
def test_a_pin_file_lifts_gates_by_their_names_only(shop: Shop, allow: object) -> None:
    """Another allowance is another pin, so that what was refused is tried again; what is none is said, and nothing changes."""
    before = shop.client.get("/pin").get_json()["id"]
    shop.write(json.dumps({**PINNED, "allow": allow}))
    facts = shop.client.get("/pin").get_json()
    if allow == "contract":
        assert facts["pinned"] == {**PINNED, "allow": ["contract"]} == {k: facts["serving"][k] for k in facts["pinned"]}
        assert facts["id"] != before
    else:
        assert facts["why_not"] == "the allowance must be some of contract, scores, probation, with commas between them"
        assert facts["id"] == before


def test_an_allowance_alone_sets_the_champions_pin_anew(shop: Shop) -> None:
    """Beside a challenger that stays, too."""
    challenger = {"file": "b.bundle", "sha256": OTHER_SHA}
    shop.challenge(challenger)
    before = shop.client.get("/pin").get_json()
    shop.write(json.dumps({**PINNED, "allow": ["scores"], "challenger": challenger}))
    after = shop.client.get("/pin").get_json()
    assert after["serving"]["allow"] == ["scores"]
    assert after["id"] != before["id"]
    assert after["challenger"]["id"] == before["challenger"]["id"]


@pytest.mark.parametrize(
    ("share", "found"), [(10, 10.0), (0.5, 0.5), ("12.5", 12.5), (50, 50.0), (0, 0.0), (None, 0.0)]
)
def test_a_challenger_may_have_a_share(shop: Shop, share: object, found: float) -> None:
    """A share is a percentage, as a number or as text. Another share is another pin; the same champion stays."""
    named = {"file": "b.bundle", "sha256": OTHER_SHA}
    shop.challenge({**named, "share": 7})
    before = shop.client.get("/pin").get_json()
    shop.challenge({**named, "share": share})
    after = shop.client.get("/pin").get_json()
    assert after["challenger"]["serving"]["share"] == found
    assert after["challenger"]["id"] != before["challenger"]["id"]
    assert after["id"] == before["id"]


@pytest.mark.parametrize("share", [-1, 50.1, 100, True, "a tenth", "nan", [10], {}])
def test_another_share_is_an_error_of_the_challenger(shop: Shop, share: object) -> None:
    shop.challenge({"file": "b.bundle", "sha256": OTHER_SHA, "share": share})
    facts = shop.client.get("/pin").get_json()
    assert "the challenger: the share must be a percentage" in facts["challenger"]["why_not"]
    assert facts["why_not"] is None


def test_the_environment_has_the_share_too(models: Path) -> None:
    own = {"MODEL_FILE_NAME": "a.bundle", "MODEL_SHA256": SHA}
    other = {**own, "CHALLENGER_FILE_NAME": "b.bundle", "CHALLENGER_SHA256": OTHER_SHA}
    for text, share in (("2.5", 2.5), ("", 0.0)):
        found = pins.from_environment({**other, "CHALLENGER_SHARE": text})[0].challenger
        assert isinstance(found, Pin)
        assert found.share == share
    assert "the share must be" in str(pins.from_environment({**other, "CHALLENGER_SHARE": "51"})[0].challenger)
    assert isinstance(pins.from_environment({**own, "CHALLENGER_SHARE": "10"})[0].challenger, pins.PinError)


DUE = "2026-11-30T06:00:00Z"


def test_a_pin_may_have_an_instant_and_is_as_before_without(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``/pin`` says it as it was written; another instant is another pin."""
    monkeypatch.setattr("time.time", lambda: 1796018400.0 - 60)
    environment = {"MODEL_FILE_NAME": "a.bundle", "MODEL_SHA256": SHA}
    without = pins.from_environment(environment)[0].champion
    assert without.named() == {**PINNED, "allow": []}
    due = pins.from_environment({**environment, "MODEL_NOT_BEFORE": DUE})[0].champion
    assert not due.same(without)
    (models / "pin.json").write_text(json.dumps({**PINNED, "notBefore": DUE}), "utf-8")
    wanted = pins.read(models / "pin.json")
    assert due.same(wanted.champion)
    service = create_app(PinnedModels(Directory(models), wanted, None, 1000)).test_client()
    page = service.get("/pin").json
    assert page["serving"]["notBefore"] == page["pinned"]["notBefore"] == DUE


@pytest.mark.parametrize(
    ("text", "words"), [("soon", "RFC 3339"), (7, "RFC 3339"), ("2026-12-08T06:00:00Z", "more than 7 days ahead")]
)
def test_an_instant_that_cannot_be_one_is_refused(
    models: Path, text: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the file as at start. One that has passed is taken: a pin outlives its instant."""
    monkeypatch.setattr("time.time", lambda: 1796018400.0)
    path = models / "pin.json"
    path.write_text(json.dumps({**PINNED, "notBefore": text}), "utf-8")
    with pytest.raises(PinError, match=words):
        pins.read(path)
    path.write_text(json.dumps({**PINNED, "notBefore": "2026-01-01T00:00:00Z"}), "utf-8")
    assert pins.read(path).champion.not_before == "2026-01-01T00:00:00Z"
    path.write_text(json.dumps({**PINNED, "challenger": {**PINNED, "notBefore": DUE}}), "utf-8")
    assert "no notBefore" in str(pins.read(path).challenger)
    with pytest.raises(PinError, match="not both"):
        pins.from_environment({"MODEL_PIN_FILE": str(path), "MODEL_NOT_BEFORE": DUE})
