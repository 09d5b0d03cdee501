"""The audit of the locked packages: what is known counts, unless the VEX file says why it does not apply."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy import audit
from tests.unit.deploy.rendered import ROOT

JUSTIFICATIONS = {  # https://github.com/openvex/spec
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
}


class Service(ThreadingHTTPServer):
    """Advisories in the format of OSV, by package; an integer is a status of its answers about that package."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.known: dict[str, Any] = {}
        self.asked: list[str] = []

    @property
    def options(self) -> list[str]:
        return ["--", "-s", "osv", "--osv-url", f"http://127.0.0.1:{self.server_port}/v1/query"]


class Asked(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.server.asked.append(name)
        known = self.server.known.get(name, [])
        self.send_response(known if isinstance(known, int) else 200)
        body = json.dumps({"vulns": known} if known and not isinstance(known, int) else {}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    """Asked about three packages of the API's image and two of the model service's."""
    (tmp_path / "env-setup").mkdir()
    for image, names in (("predict", ("click", "flask", "joblib")), ("model", ("click", "flask"))):
        locked = (ROOT / "env-setup" / f"{image}.txt").read_text("utf-8")
        blocks = [re.search(rf"^{name}==(.*\\\n)+.*\n", locked, re.MULTILINE) for name in names]
        text = "".join(block[0] for block in blocks if block)
        (tmp_path / "env-setup" / f"{image}.txt").write_text(text, "utf-8")
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    with Service() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def advisory(identifier: str, *aliases: str) -> dict[str, Any]:
    return {"id": identifier, "aliases": list(aliases), "summary": "…", "affected": []}


def test_all_that_is_locked_is_asked_about(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is known, that is said."""
    assert audit.main(service.options) == 0
    assert sorted(service.asked) == ["click"] * 3 + ["flask"] * 2 + ["joblib"]  # the first one as a probe, too
    said = capsys.readouterr().out
    assert "predict.txt: 3 packages asked about" in said
    assert "model.txt: 2 packages asked about" in said


def test_what_does_not_apply_does_not_count_and_all_else_does(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever of its names the service uses, and for the package of the statement alone."""
    service.known["joblib"] = [advisory("PYSEC-2024-1", "CVE-2024-34997")]
    assert audit.main(service.options) == 0
    assert "does not apply: joblib" in capsys.readouterr().out
    service.known["flask"] = [advisory("GHSA-1", "CVE-2024-34997")]
    service.known["joblib"] += [advisory("GHSA-2")]
    assert audit.main(service.options) == 1
    said = capsys.readouterr().out
    assert re.search(r"flask \S+: CVE-2024-34997 .*GHSA-1.*fixed in no version", said)
    assert re.search(r"joblib \S+: GHSA-2", said)


def test_an_audit_that_breaks_off_is_no_clean_one(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even where it may be skipped: the service answers."""
    service.known["flask"] = 500
    assert audit.main(["--if-reachable", *service.options]) == 1
    assert "not audited" in capsys.readouterr().out


def test_without_a_service_it_is_skipped_only_where_that_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    """Either way it says why."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        options = ["--", "-s", "osv", "--osv-url", f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/query"]
        assert audit.main(options) == 2
        assert "not done: no service of advisories answers here" in capsys.readouterr().err
        assert audit.main(["--if-reachable", *options]) == 0
        assert re.search(r"skipped: no service .*\(.*ConnectionError.*\)", capsys.readouterr().err)


def test_each_statement_is_about_what_is_locked_and_says_why() -> None:
    """OpenVEX 0.2.0. A package that is not in the image any more needs no statement."""
    document = json.loads(audit.VEX.read_text("utf-8"))
    assert document["@context"] == "https://openvex.dev/ns/v0.2.0"
    assert {"@id", "author", "timestamp", "version", "statements"} <= set(document)
    assert document["version"] == int(document["@id"].rpartition(":")[2])
    for each in document["statements"]:
        assert each["status"] == "not_affected"
        assert each["justification"] in JUSTIFICATIONS
        assert len(each["impact_statement"]) > 40
        for product in each["products"]:
            image = product["@id"].removeprefix("pkg:oci/peerloan-")
            locked = (ROOT / "env-setup" / f"{image}.txt").read_text("utf-8")
            for part in product["subcomponents"]:
                assert f"\n{part['@id'].removeprefix('pkg:pypi/')}==" in locked
