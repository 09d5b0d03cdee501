"""Provenance: what a published bundle and an image say of their making, and that it approves nothing."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy import base_images
from deploy import provenance as of_images
from modelbundle.__main__ import main
from modelbundle.errors import StatementError
from modelbundle.format import archive, statement
from modelbundle.publishing import provenance
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import publish
from tests.conftest import WORDS, make_book, make_logistic
from tests.unit.deploy.rendered import ROOT

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    private, public = tmp_path / "secret" / "key.pem", tmp_path / "public.pem"
    statement.make_keys(private, public)
    return private, public


def payload(path: Path) -> dict[str, Any]:
    """The in-toto statement of a signed file, unverified."""
    envelope = json.loads(path.read_bytes())["dsseEnvelope"]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    return dict(json.loads(base64.b64decode(envelope["payload"])))


def test_a_signed_bundle_says_what_it_was_made_from(
    keys: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data, code, parent and packages; verified by the command, with the key of the statement."""
    frame, labels = make_book()
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("data", "code", "parent", "outcomes")}
    author = Author(
        "own",
        "Own",
        "late",
        WORDS,
        training={"fingerprint": hashes["data"], "code_version": f"own_package sha256:{hashes['code']}"},
        lineage={"how": "retrained", "parent": hashes["parent"], "dataset": hashes["outcomes"]},
    )
    made = publish(
        make_logistic().fit(frame, labels), frame, labels, tmp_path / "own.bundle", author=author, key=keys[0]
    )
    written = tmp_path / "own.bundle.provenance.sig"
    content = payload(written)
    assert content["_type"] == "https://in-toto.io/Statement/v1"
    assert content["subject"] == [{"name": "own.bundle", "digest": {"sha256": made.sha256}}]
    assert content["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, run = content["predicate"]["buildDefinition"], content["predicate"]["runDetails"]
    assert definition["externalParameters"] == {"file": "own.bundle", "model": "own", "how": "retrained"}
    named = {each["name"]: each["digest"]["sha256"] for each in definition["resolvedDependencies"] if "name" in each}
    assert named == {
        "training data": hashes["data"],
        "outcomes": hashes["outcomes"],
        "parent": hashes["parent"],
        "own_package": hashes["code"],
    }
    packages = {each["uri"] for each in definition["resolvedDependencies"] if "uri" in each}
    assert f"pkg:pypi/scikit-learn@{made.manifest['runtime']['scikit-learn']}" in packages
    assert ":" in run["builder"]["id"]
    assert all(MOMENT.fullmatch(run["metadata"][when]) for when in ("startedOn", "finishedOn"))
    assert main(["verify", str(made.path), "--public-key", str(keys[1]), "--provenance"]) == 0
    assert hashes["parent"] in capsys.readouterr().out


def test_provenance_approves_nothing_and_an_approval_is_no_provenance(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """One key signs both; a replica that is given the one for the other refuses it."""
    path = tmp_path / "m.bundle"
    path.write_bytes(b"a model")
    sha256 = archive.digest(b"a model")
    trusted = statement.read_public(keys[1])
    approval = statement.sign_file(path, keys[0]).read_bytes()
    made = provenance.sign_file(path, keys[0], provenance.Build("urn:test", {}, [])).read_bytes()
    assert provenance.verify(made, sha256, trusted).predicate["buildDefinition"]["buildType"] == "urn:test"
    with pytest.raises(StatementError, match="not a statement about a model"):
        statement.verify(made, sha256, trusted)
    with pytest.raises(StatementError, match="is no provenance"):
        provenance.verify(approval, sha256, trusted)


def test_only_a_trusted_key_s_word_about_these_bytes_counts(
    keys: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another file, a changed payload, another key."""
    path = tmp_path / "m.bundle"
    path.write_bytes(b"a model")
    raw = provenance.sign_file(path, keys[0], provenance.Build("urn:test", {}, [])).read_bytes()
    trusted = statement.read_public(keys[1])
    with pytest.raises(StatementError, match="not about the file"):
        provenance.verify(raw, archive.digest(b"another"), trusted)
    document = json.loads(raw)
    changed = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b"urn:test", b"urn:evil")
    document["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()
    with pytest.raises(StatementError, match="none of the keys"):
        provenance.verify(json.dumps(document).encode(), archive.digest(b"a model"), trusted)
    stranger = tmp_path / "stranger.pem"
    statement.make_keys(stranger, tmp_path / "stranger-public.pem")
    provenance.sign_file(path, stranger, provenance.Build("urn:test", {}, []))
    assert main(["verify", str(path), "--public-key", str(keys[1]), "--provenance"]) == 1
    assert "m.bundle.provenance.sig is signed with none of the keys" in capsys.readouterr().err
    for content in ([], {"predicate": []}, {"predicate": {"buildDefinition": {"buildType": 1}}}):
        odd = statement.enclose(content, statement.read_private(keys[0]))  # type: ignore[arg-type]
        with pytest.raises(StatementError, match="is no provenance"):
            provenance.verify(odd, archive.digest(b"a model"), trusted)


@pytest.mark.parametrize("name", ["predict", "model"])
def test_an_image_says_what_it_was_built_from(keys: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    """Commit, Dockerfile, locked packages and base image; it is about the archive and the image's id."""
    archived = tmp_path / f"peerloan-{name}-0.1.0.tar.gz"
    archived.write_bytes(b"an image")
    arguments = [
        name,
        str(archived),
        "--key",
        str(keys[0]),
        "--image",
        f"sha256:{'a' * 64}",
        "--argument",
        "VERSION=0.1.0",
    ]
    assert of_images.main(arguments) == 0
    raw = archived.with_name(archived.name + provenance.SUFFIX).read_bytes()
    for sha256 in (archive.digest(b"an image"), "a" * 64):
        found = provenance.verify(raw, sha256, statement.read_public(keys[1])).predicate["buildDefinition"]
    assert found["externalParameters"]["arguments"] == {"VERSION": "0.1.0"}
    assert isinstance(found["internalParameters"]["changedSinceTheCommit"], bool)
    named = {each.get("name", each.get("uri")): each.get("digest") for each in found["resolvedDependencies"]}
    locked = (ROOT / "env-setup" / f"{name}.txt").read_bytes()
    assert named[f"env-setup/{name}.txt"] == {"sha256": archive.digest(locked)}
    images = base_images.used((ROOT / "services" / name / "Dockerfile").read_text("utf-8"))
    for image, digest in images.items():
        assert named[f"pkg:docker/{image.replace(':', '@')}"] == ({"sha256": digest[7:]} if digest else None)
    assert of_images.main([*arguments[:3], str(tmp_path / "none.pem"), *arguments[4:]]) == 1


def test_what_a_manifest_says_loosely_is_left_out() -> None:
    """A fingerprint in words is no digest."""
    about = {
        "name": "own",
        "runtime": {"python": "3.11"},
        "training": {"fingerprint": "of last week", "code_version": "7"},
        "lineage": {"parent": 7},
    }
    began = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    build = provenance.Build.of_bundle("own.bundle", about, began)
    assert build.dependencies == [{"uri": "pkg:generic/python@3.11"}]
    assert provenance.describe({}, build)["predicate"]["runDetails"]["metadata"]["startedOn"] == "2026-01-02T03:04:05Z"
