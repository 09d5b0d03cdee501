"""Statements: signatures that prove who approved a model, and which approval is the newest.

A statement is the file ``NAME.sig`` next to a model: an OpenSSF Model Signing file (Sigstore bundle v0.3 around a DSSE envelope
around an in-toto Statement v1, signed with ECDSA on P-256 and SHA-256), which ``model_signing verify key`` accepts. Its predicate
has one additional member, ``sequence``: a whole number that rises with every statement. It may have ``allow``: the gates that the
pinned model need not pass (:mod:`modelbundle.format.allowance`), and ``notBefore``: the instant from which it may answer
(:mod:`modelbundle.instant`). A signature proves who made a file,
not that the approval is current; with the sequence, a reader refuses a replayed older statement. A challenger has a separate
statement, ``NAME.challenger.sig``, whose predicate says ``"role": "challenger"``. It does not allow the model
to answer more than the ``share`` of the records that it names, in percent; without that, none.

https://github.com/ossf/model-signing-spec, https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbundle import instant
from modelbundle.errors import StatementError
from modelbundle.format import allowance

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

CHAMPION, CHALLENGER = "champion", "challenger"  # roles
SUFFIX = ".sig"
SUFFIXES = {CHAMPION: SUFFIX, CHALLENGER: f".challenger{SUFFIX}"}
MAX_BYTES = 65_536
MAX_KEYS = 64
LARGEST = (1 << 53) - 1  # exact in every JSON reader
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []}
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """A verified statement: the model's SHA-256, the sequence, the key that signed it (SHA-256 of its PEM), and the gates that it
    lifts. A challenger may answer ``share`` percent of the records; a champion must not answer before ``not_before`` (Unix time).
    """

    sha256: str
    sequence: int
    key: str
    allow: tuple[str, ...] = ()
    share: float = 0.0
    not_before: float = 0.0


def make_keys(private: Path, public: Path) -> None:
    """Write a new P-256 key pair as PEM; only the owner may read the private key. Raises :class:`OSError`.

    It never overwrites a file.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if public.exists():
        raise FileExistsError(17, "exists; a key is never overwritten", str(public))
    key = ec.generate_private_key(ec.SECP256R1())
    own = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.parent.mkdir(parents=True, exist_ok=True)
    public.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(own)
    public.write_bytes(_pem(key.public_key()))


def read_private(path: Path) -> EllipticCurvePrivateKey:
    """A P-256 private key from a PEM file; raises :class:`StatementError` and :class:`OSError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise StatementError(f"{path} is not a private key in PEM without a password") from None
    return _on_p256(key, path)  # type: ignore[no-any-return]


def read_public(path: Path) -> list[EllipticCurvePublicKey]:
    """All public keys of a PEM file; several allow a rotation. Raises :class:`StatementError` and :class:`OSError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    blocks = _PEM.findall(path.read_bytes())
    if not 0 < len(blocks) <= MAX_KEYS:
        raise StatementError(f"{path} must hold 1 to {MAX_KEYS} public keys in PEM")
    try:
        return [_on_p256(load_pem_public_key(block), path) for block in blocks]
    except (ValueError, UnsupportedAlgorithm):
        raise StatementError(f"{path} has a public key that cannot be read") from None


def sign(
    sha256: str,
    name: str,
    key: EllipticCurvePrivateKey,
    sequence: int | None = None,
    role: str = CHAMPION,
    allow: Sequence[str] = (),
    share: float = 0.0,
    not_before: str = "",
) -> bytes:
    """A signed statement that approves the file ``name`` with this ``sha256`` (hex) for ``role``, and lifts the gates ``allow``.

    A challenger may answer ``share`` percent of the records; with 0 it is only scored silently. A champion answers from
    ``not_before`` on, RFC 3339 in UTC; empty: at once.

    ``sequence`` is 1 to 2**53 - 1, by default the Unix time in milliseconds. Raises :class:`StatementError` for another number,
    for a text that is no instant, and for a challenger with one.
    """
    _due(not_before, role)
    number = time.time_ns() // 1_000_000 if sequence is None else sequence
    if not 0 < number <= LARGEST:
        raise StatementError(f"a sequence is a whole number from 1 to {LARGEST}")
    content = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(sha256)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": SERIALIZATION,
            "resources": [{"name": ".", "digest": sha256, "algorithm": "sha256"}],
            "sequence": number,
            **({} if role == CHAMPION else {"role": role}),
            **({"allow": list(allow)} if allow else {}),
            **({"share": share} if share else {}),
            **({"notBefore": not_before} if not_before else {}),
        },
    }
    return enclose(content, key)


def enclose(content: Mapping[str, Any], key: EllipticCurvePrivateKey) -> bytes:
    """An in-toto statement, signed, as a Sigstore bundle."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    payload = json.dumps(content, indent=2).encode()
    signature = key.sign(_encoded(payload), ECDSA(SHA256()))
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": _hint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document).encode()


def sign_file(
    path: Path,
    private: Path,
    sequence: int | None = None,
    role: str = CHAMPION,
    allow: Sequence[str] = (),
    share: float = 0.0,
    not_before: str = "",
) -> Path:
    """Write the statement next to a model file and return its path; raises :class:`StatementError` and :class:`OSError`."""
    from modelbundle.durable import write

    key = read_private(private)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    signature = path.with_name(path.name + SUFFIXES[role])
    write(signature, sign(sha256, path.name, key, sequence, role, allow, share, not_before))
    return signature


def verify(raw: bytes, sha256: str, keys: Sequence[EllipticCurvePublicKey], role: str = CHAMPION) -> Statement:
    """The statement in ``raw`` about the model ``sha256``; the payload is parsed after its signature is verified.

    Raises :class:`StatementError` for an invalid signature, another model or another role.
    """
    payload, signer = disclose(raw, keys)
    try:
        content = json.loads(payload)
        predicate = content["predicate"]
        kinds = (content["_type"], content["predicateType"])
        subjects, resources, sequence = content["subject"], predicate["resources"], predicate.get("sequence")
        signed_for, allow = predicate.get("role", CHAMPION), allowance.parse(predicate.get("allow"))
        share, not_before = predicate.get("share", 0), predicate.get("notBefore")
        about = {(r["name"], r["algorithm"], r["digest"]) for r in resources}
        roots = [s["digest"]["sha256"] for s in subjects]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StatementError("is signed, but is not a statement about a model") from None
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise StatementError("is signed, but is not a statement about a model")
    if about != {(".", "sha256", sha256)} or roots != [_root(sha256)]:
        raise StatementError(f"is not about the model {sha256}")
    if signed_for != role:
        raise StatementError(f"is not about a {role}: sign the model as one")
    if type(sequence) is not int or not 0 < sequence <= LARGEST:
        raise StatementError("has no sequence: sign it with `python -m modelbundle sign`")
    if type(share) not in (int, float) or not 0 <= share <= 100:
        raise StatementError("has a share that is no percentage: sign the model anew")
    return Statement(sha256, sequence, signer, allow, float(share), _due(not_before, role))


def _due(not_before: object, role: str) -> float:
    """A statement's instant as a Unix time, 0 for none; raises :class:`StatementError`."""
    try:
        found = instant.parse(not_before)
    except instant.InstantError as error:
        raise StatementError(f"has a notBefore that {error}") from None
    if found and role != CHAMPION:
        raise StatementError("has a notBefore, and is about a challenger: only the model that answers has an instant")
    return found


def disclose(raw: bytes, keys: Sequence[EllipticCurvePublicKey]) -> tuple[bytes, str]:
    """The payload of what :func:`enclose` made, and the key that signed it (SHA-256 of its PEM).

    Raises :class:`StatementError` where none of ``keys`` signed it. The caller checks what kind of statement it is.
    """
    if len(raw) > MAX_BYTES:
        raise StatementError(f"is larger than {MAX_BYTES} bytes")
    payload, signature = _envelope(raw)
    signer = next((key for key in keys if _signed(key, signature, payload)), None)
    if signer is None:
        raise StatementError("is signed with none of the keys that are trusted")
    return payload, _hint(signer)


def _envelope(raw: bytes) -> tuple[bytes, bytes]:
    try:
        envelope = json.loads(raw)["dsseEnvelope"]
        (entry,) = envelope["signatures"]
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise StatementError(f"has a payload that is not {PAYLOAD_TYPE}")
        payload = base64.b64decode(envelope["payload"], validate=True)
        return payload, base64.b64decode(entry["sig"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise StatementError("is not a signed statement") from None


def _signed(key: EllipticCurvePublicKey, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(signature, _encoded(payload), ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _root(sha256: str) -> str:
    """The root digest of a model of one file: the SHA-256 of the 32-byte digests of its files."""
    return hashlib.sha256(bytes.fromhex(sha256)).hexdigest()


def _on_p256(key: Any, path: Path) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1

    if not isinstance(getattr(key, "curve", None), SECP256R1):
        raise StatementError(f"{path} must be a key on the curve P-256")
    return key


def _pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _hint(key: EllipticCurvePublicKey) -> str:
    return hashlib.sha256(_pem(key)).hexdigest()
