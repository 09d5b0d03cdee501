"""Statements: what is accepted, what is not, and that the reference implementation agrees."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbundle.__main__ import main
from modelbundle.errors import StatementError
from modelbundle.format import statement

CONTENT = b"a model" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key, in files."""
    private, public = tmp_path / "secret" / "key.pem", tmp_path / "public.pem"
    statement.make_keys(private, public)
    return private, public


def signed(keys: tuple[Path, Path], sequence: int | None = 7) -> bytes:
    return statement.sign(SHA256, "m.bundle", statement.read_private(keys[0]), sequence)


def trusted(keys: tuple[Path, Path]) -> list[Any]:
    return statement.read_public(keys[1])


def reference(*arguments: str) -> subprocess.CompletedProcess[str]:
    """OpenSSF's ``model_signing``."""
    code = "import sys; from model_signing._cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_what_was_signed_is_accepted(keys: tuple[Path, Path]) -> None:
    """A verified statement gives its sequence and its signer."""
    found = statement.verify(signed(keys), SHA256, trusted(keys))
    assert (found.sha256, found.sequence) == (SHA256, 7)
    assert found.key == hashlib.sha256(keys[1].read_bytes()).hexdigest()
    assert keys[0].stat().st_mode & 0o777 == 0o600


def test_a_statement_says_from_when_on_the_model_answers(keys: tuple[Path, Path]) -> None:
    """A challenger has no instant, and what is none is not signed; nor accepted, from whoever signed it."""
    key, text = statement.read_private(keys[0]), "2026-11-30T06:00:00Z"
    raw = statement.sign(SHA256, "m.bundle", key, 7, not_before=text)
    assert statement.verify(raw, SHA256, trusted(keys)).not_before == 1796018400
    assert b"notBefore" not in base64.b64decode(json.loads(signed(keys))["dsseEnvelope"]["payload"])
    with pytest.raises(StatementError, match="RFC 3339"):
        statement.sign(SHA256, "m.bundle", key, 7, not_before="soon")
    with pytest.raises(StatementError, match="only the model that answers"):
        statement.sign(SHA256, "m.bundle", key, 7, role="challenger", not_before=text)
    content = json.loads(base64.b64decode(json.loads(raw)["dsseEnvelope"]["payload"]))
    for wrong in ("soon", 1796018400, "1999-11-30T06:00:00Z"):
        content["predicate"]["notBefore"] = wrong
        with pytest.raises(StatementError, match="has a notBefore that"):
            statement.verify(statement.enclose(content, key), SHA256, trusted(keys))


def test_a_statement_says_which_gates_it_lifts(keys: tuple[Path, Path]) -> None:
    """In the order of the gates; without a word, none."""
    raw = statement.sign(SHA256, "m.bundle", statement.read_private(keys[0]), 7, allow=("scores", "contract"))
    assert statement.verify(raw, SHA256, trusted(keys)).allow == ("contract", "scores")
    assert statement.verify(signed(keys), SHA256, trusted(keys)).allow == ()


@pytest.mark.parametrize("share", [0.5, 10, 50.0])
def test_a_statement_says_which_share_a_challenger_may_answer(keys: tuple[Path, Path], share: float) -> None:
    """Without a word, none."""
    raw = statement.sign(SHA256, "m", statement.read_private(keys[0]), 7, statement.CHALLENGER, share=share)
    assert statement.verify(raw, SHA256, trusted(keys), statement.CHALLENGER).share == share
    assert statement.verify(signed(keys), SHA256, trusted(keys)).share == 0


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -1, 101, True, "10", [10]])
def test_a_share_that_is_no_percentage_is_refused(keys: tuple[Path, Path], share: Any) -> None:
    """No comparison with it would hold, so it would allow any share."""
    raw = statement.sign(SHA256, "m", statement.read_private(keys[0]), 7, statement.CHALLENGER, share=share)
    with pytest.raises(StatementError, match="share that is no percentage"):
        statement.verify(raw, SHA256, trusted(keys), statement.CHALLENGER)


def test_without_a_number_the_clock_gives_one(keys: tuple[Path, Path]) -> None:
    """The default sequence is the time in milliseconds, so it rises with every statement."""
    first, second = (statement.verify(signed(keys, None), SHA256, trusted(keys)).sequence for _ in range(2))
    assert 1_700_000_000_000 < first <= second


@pytest.mark.parametrize("role", statement.SUFFIXES)
def test_the_reference_implementation_accepts_ours(keys: tuple[Path, Path], tmp_path: Path, role: str) -> None:
    """``model_signing`` verifies our statement, and refuses the same model with one byte changed."""
    file = tmp_path / "m.bundle"
    file.write_bytes(CONTENT)
    signature = statement.sign_file(file, keys[0], role=role)
    arguments = ["verify", "key", "--public_key", str(keys[1]), "--signature", str(signature), str(file)]
    accepted = reference(*arguments)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    file.write_bytes(CONTENT[:-1] + b"X")
    assert reference(*arguments).returncode != 0


def test_one_of_the_reference_implementation_lacks_only_the_sequence(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """A statement of ``model_signing`` has no sequence, so it is refused, and the message says what to do."""
    file, signature = tmp_path / "m.bundle", tmp_path / "theirs.sig"
    file.write_bytes(CONTENT)
    made = reference("sign", "key", "--private_key", str(keys[0]), "--signature", str(signature), str(file))
    assert made.returncode == 0, made.stdout + made.stderr
    with pytest.raises(StatementError, match="has no sequence: sign it with"):
        statement.verify(signature.read_bytes(), SHA256, trusted(keys))


def test_a_statement_is_good_for_one_role(keys: tuple[Path, Path]) -> None:
    """A challenger's statement does not allow the model to answer, and a champion's does not make it a challenger."""
    own = {role: statement.sign(SHA256, "m", statement.read_private(keys[0]), 7, role) for role in statement.SUFFIXES}
    for role, raw in own.items():
        assert statement.verify(raw, SHA256, trusted(keys), role).sequence == 7
        (other,) = set(own) - {role}
        with pytest.raises(StatementError, match=f"not about a {other}"):
            statement.verify(raw, SHA256, trusted(keys), other)


def test_any_of_several_keys_will_do(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """During a rotation, the file of trusted keys has the old and the new key, and either verifies."""
    statement.make_keys(tmp_path / "new.pem", tmp_path / "new-public.pem")
    both = tmp_path / "both.pem"
    both.write_bytes(b"# the next one\n" + (tmp_path / "new-public.pem").read_bytes() + keys[1].read_bytes())
    assert statement.verify(signed(keys), SHA256, statement.read_public(both)).sequence == 7
    with pytest.raises(StatementError, match="none of the keys that are trusted"):
        statement.verify(signed(keys), SHA256, statement.read_public(tmp_path / "new-public.pem"))


@pytest.mark.attack("statements")
def test_another_file_is_not_meant(keys: tuple[Path, Path]) -> None:
    """A statement about other bytes is refused."""
    with pytest.raises(StatementError, match="is not about the model"):
        statement.verify(signed(keys), hashlib.sha256(b"other").hexdigest(), trusted(keys))


def resigned(keys: tuple[Path, Path], change: Any) -> bytes:
    """A statement whose payload was changed before it was signed with the trusted key."""
    document = json.loads(signed(keys))
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    raw = json.dumps(change(payload)).encode()
    signature = statement.read_private(keys[0]).sign(statement._encoded(raw), ec.ECDSA(hashes.SHA256()))
    document["dsseEnvelope"]["payload"] = base64.b64encode(raw).decode()
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(document).encode()


@pytest.mark.attack("statements")
@pytest.mark.parametrize(
    "change",
    [
        lambda p: [],
        lambda p: None,
        lambda p: {**p, "_type": "other"},
        lambda p: {**p, "predicateType": "other"},
        lambda p: {**p, "subject": []},
        lambda p: {**p, "subject": p["subject"] * 2},
        lambda p: {**p, "subject": [{"digest": {"sha256": SHA256}}]},
        lambda p: {**p, "predicate": {**p["predicate"], "resources": []}},
        lambda p: {**p, "predicate": {**p["predicate"], "resources": [[]]}},
        lambda p: {
            **p,
            "predicate": {
                **p["predicate"],
                "resources": [*p["predicate"]["resources"], {"name": "x", "algorithm": "sha256", "digest": "0"}],
            },
        },
        *[
            lambda p, bad=bad: {**p, "predicate": {**p["predicate"], "sequence": bad}}
            for bad in (0, -1, 1.5, "7", None, True, 1 << 53)
        ],
        *[
            lambda p, bad=bad: {**p, "predicate": {**p["predicate"], "allow": bad}}
            for bad in (["everything"], [[]], 1, {"contract": 1})
        ],
    ],
)
def test_a_signed_payload_that_says_something_else_is_refused(keys: tuple[Path, Path], change: Any) -> None:
    """A valid signature on a wrong payload is refused."""
    assert statement.verify(resigned(keys, lambda p: p), SHA256, trusted(keys)).sequence == 7
    with pytest.raises(StatementError):
        statement.verify(resigned(keys, change), SHA256, trusted(keys))


@pytest.fixture
def original(keys: tuple[Path, Path]) -> bytes:
    """One statement (each signature is another one)."""
    return signed(keys)


@pytest.mark.attack("statements")
@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_changed_byte_is_accepted_with_another_meaning(
    keys: tuple[Path, Path], original: bytes, data: st.DataObject
) -> None:
    """Whatever is changed: it is refused with a reason, or it still says exactly the same."""
    raw = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        found = statement.verify(bytes(raw), SHA256, trusted(keys))
    except StatementError:
        return
    assert (found.sha256, found.sequence) == (SHA256, 7)


@pytest.mark.attack("statements")
@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"null", b"[" * 60_000, b"x" * 70_000, b'{"dsseEnvelope": {"signatures": []}}', b"\xff"]
)
def test_what_is_no_statement_is_refused(keys: tuple[Path, Path], raw: bytes) -> None:
    """Any other bytes are refused quickly, with a reason."""
    with pytest.raises(StatementError):
        statement.verify(raw, SHA256, trusted(keys))


@pytest.mark.attack("statements")
def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    """Only keys on P-256 are accepted."""
    for number, key in enumerate((ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1()))):
        private, public = tmp_path / f"k{number}.pem", tmp_path / f"p{number}.pem"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        with pytest.raises(StatementError, match="P-256"):
            statement.read_private(private)
        with pytest.raises(StatementError, match="P-256"):
            statement.read_public(public)
        with pytest.raises(StatementError):
            statement.read_private(public)
        with pytest.raises(StatementError):
            statement.read_public(private)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """keys, sign and verify work; an existing key is never overwritten, and an error is one line."""
    file, private, public = tmp_path / "m.bundle", tmp_path / "key.pem", tmp_path / "public.pem"
    file.write_bytes(CONTENT)
    assert main(["keys", str(private), str(public)]) == 0
    kept = private.read_bytes()
    assert main(["keys", str(private), str(tmp_path / "other.pem")]) == 1
    assert main(["keys", str(tmp_path / "other-private.pem"), str(public)]) == 1
    assert private.read_bytes() == kept
    assert not (tmp_path / "other-private.pem").exists()
    assert main(["sign", str(file), "--key", str(private), "--sequence", "9"]) == 0
    capsys.readouterr()
    assert main(["verify", str(file), "--public-key", str(public)]) == 0
    assert "sequence:    9" in capsys.readouterr().out
    assert main(["sign", str(file), "--key", str(private), "--allow", "scores,contract"]) == 0
    capsys.readouterr()
    assert main(["verify", str(file), "--public-key", str(public)]) == 0
    assert "allow:       contract,scores" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sign", str(file), "--key", str(private), "--allow", "contrat"])
    assert "must be some of contract, scores, probation" in capsys.readouterr().err
    file.write_bytes(b"changed")
    assert main(["verify", str(file), "--public-key", str(public)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["sign", str(file), "--key", str(public)]) == 1
    assert main(["sign", str(file), "--key", str(private), "--sequence", "0"]) == 1
