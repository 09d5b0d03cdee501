"""Provenance: how a file was made, when, by what and from what, signed with the key of its statement.

It is the file ``NAME.provenance.sig`` next to a bundle or an image: an in-toto Statement v1 with SLSA's predicate
(https://slsa.dev/provenance/v1), enclosed as an approval is (:mod:`modelbundle.format.statement`). It approves nothing: a replica
does not read it, and takes no model because of it. It is for people who ask later where a file came from.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbundle import __version__, durable
from modelbundle.errors import StatementError
from modelbundle.format import statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SUFFIX = ".provenance.sig"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PUBLISHED = "urn:peerloan:build:bundle:v1"  # build types: docs/signing.md says what each holds
BUILDER = "urn:peerloan:builder:own-machine"  # nobody else's: what it says is as true as the owner of the key is honest
_HASH = re.compile(r"[0-9a-f]{64}")
_HASHED = re.compile(r"(\S+) sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Build:
    """What is said of a build: SLSA's ``buildDefinition``, and when it began where that is known."""

    kind: str
    parameters: Mapping[str, Any]
    dependencies: Sequence[Mapping[str, Any]]
    began: datetime.datetime | None = None
    internal: Mapping[str, Any] | None = None

    @classmethod
    def of_bundle(cls, name: str, manifest: Mapping[str, Any], began: datetime.datetime) -> Build:
        """The publishing of a bundle: its data, code and parent by their hashes, where it names them, and the packages used."""
        training, lineage = manifest.get("training", {}), manifest.get("lineage", {})
        hashes = (
            ("training data", training, "fingerprint"),
            ("outcomes", lineage, "dataset"),
            ("parent", lineage, "parent"),
        )
        found = [
            {"name": what, "digest": {"sha256": group[key]}}
            for what, group, key in hashes
            if isinstance(group.get(key), str) and _HASH.fullmatch(group[key])
        ]
        if code := _HASHED.fullmatch(str(training.get("code_version", ""))):
            found.append({"name": code[1], "digest": {"sha256": code[2]}})
        for package, version in manifest["runtime"].items():
            kind = "generic" if package == "python" else "pypi"
            found.append({"uri": f"pkg:{kind}/{package}@{version}"})
        parameters = {"file": name, "model": manifest["name"], **({"how": lineage["how"]} if "how" in lineage else {})}
        return cls(PUBLISHED, parameters, found, began)


@dataclass(frozen=True)
class Provenance:
    """Verified provenance: the predicate, and the key that signed it (SHA-256 of its PEM)."""

    predicate: dict[str, Any]
    key: str


def now() -> datetime.datetime:
    """The time, as builds have it."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def describe(subjects: Mapping[str, str], build: Build) -> dict[str, Any]:
    """The statement about files, SHA-256 by name, that ``build`` made until now."""
    return {
        "_type": statement.STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": build.kind,
                "externalParameters": dict(build.parameters),
                **({"internalParameters": dict(build.internal)} if build.internal else {}),
                "resolvedDependencies": [dict(each) for each in build.dependencies],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"modelbundle": __version__}},
                "metadata": {
                    "invocationId": f"urn:uuid:{uuid.uuid4()}",
                    **({"startedOn": _said(build.began)} if build.began else {}),
                    "finishedOn": _said(now()),
                },
            },
        },
    }


def sign_file(path: Path, private: Path, build: Build, others: Mapping[str, str] | None = None) -> Path:
    """Write the provenance next to a file and return its path. ``others`` are what the file is too, SHA-256 by name.

    Raises :class:`StatementError` and :class:`OSError`.
    """
    key = statement.read_private(private)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    written = path.with_name(path.name + SUFFIX)
    durable.write(written, statement.enclose(describe({path.name: sha256, **(others or {})}, build), key))
    return written


def verify(raw: bytes, sha256: str, keys: Sequence[EllipticCurvePublicKey]) -> Provenance:
    """The provenance in ``raw`` of the file with this ``sha256``, parsed after its signature is verified.

    Raises :class:`StatementError` for an invalid signature, another file, or a statement of another kind.
    """
    payload, key = statement.disclose(raw, keys)
    try:
        content = json.loads(payload)
        kinds, predicate = (content["_type"], content["predicateType"]), content["predicate"]
        subjects = [subject["digest"]["sha256"] for subject in content["subject"]]
        made = predicate["buildDefinition"]["buildType"], predicate["runDetails"]["builder"]["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StatementError("is signed, but is no provenance") from None
    if kinds != (statement.STATEMENT_TYPE, PREDICATE_TYPE) or not all(isinstance(each, str) for each in made):
        raise StatementError("is signed, but is no provenance")
    if sha256 not in subjects:
        raise StatementError(f"is not about the file {sha256}")
    return Provenance(predicate, key)


def _said(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
