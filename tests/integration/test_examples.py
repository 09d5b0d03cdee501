"""What the documents show is what the API does: every example is sent to the model that ships, and every command is run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.deployment.local import EXAMPLE
from tests.integration.examples import Example, read, settled, without
from tests.integration.system import ROOT, System, ask, running, until

KEY = "example-key"
SHIPPED = ROOT / "models" / "late-payers.bundle"
SHA256 = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
ERRORS = ROOT / "docs" / "errors.md"
COMMANDS = re.findall(r"```sh\n(curl .*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def ship(root: Path, **environment: str) -> Iterator[System]:
    """The shipped model, answering."""
    with running(root, **environment) as system:
        shutil.copy(SHIPPED, system.models)
        system.pin("late-payers.bundle", SHA256)
        system.start_model()
        system.start_predict()
        yield system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """With an outcome of a loan, which an example contradicts."""
    for system in ship(tmp_path_factory.mktemp("examples"), MAX_ROWS="3"):
        record(system, "loan-17")
        yield system


def record(system: System, own: str) -> None:
    """A loan that was scored, and late."""
    system.post({**json.loads(EXAMPLE), "id": own})
    until(lambda: system.post({"id": own, "is_late": True}, "/outcomes")[0] == 200, 20, "the outcome is recorded")


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    yield from ship(tmp_path_factory.mktemp("open"), HOST="0.0.0.0")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    root = tmp_path_factory.mktemp("locked")
    (root / "keys").write_text(f"example {hashlib.sha256(KEY.encode()).hexdigest()}\n", "utf-8")
    yield from ship(root, API_KEYS_FILE=str(root / "keys"))


def compare(example: Example, system: System) -> None:
    status, headers, raw = ask(system.port, example.method, example.path, example.body, example.headers)
    kind = headers["content-type"].partition(";")[0]
    found = settled(raw, kind)
    promised = without(json.loads(example.promised)) if kind.endswith("json") else example.promised
    assert found == promised
    if kind == "application/problem+json":
        assert found["status"] == status


@pytest.mark.parametrize("example", read(ERRORS), ids=lambda example: example.name)
def test_every_error_of_the_catalogue(request: pytest.FixtureRequest, example: Example) -> None:
    """Each request gets exactly the documented answer."""
    keys = "keys" in example.promised.lower() or "key is" in example.promised.lower()
    where = "open_to_all" if "API_KEYS_FILE" in example.promised else "locked" if keys else "system"
    compare(example, request.getfixturevalue(where))


def test_the_catalogue_has_an_example_of_every_error() -> None:
    """What can be shown with one request is shown."""
    statuses = {json.loads(example.promised)["status"] for example in read(ERRORS)}
    assert statuses == {400, 401, 403, 404, 405, 409, 413, 415, 422}


@pytest.mark.parametrize("command", COMMANDS, ids=range(len(COMMANDS)))
def test_every_curl_of_the_readme(system: System, command: str, tmp_path: Path) -> None:
    """Each prints predictions of the model that ships."""
    here = command.replace("http://127.0.0.1:5000", f"http://127.0.0.1:{system.port}").replace("curl ", "curl -sf ", 1)
    (tmp_path / "book.csv").write_text(
        "member,loan_amnt,int_rate,purpose,grade,annual_inc,revol_util,emp_length,dti,delinq_2yrs,home_ownership\n"
        "m1,10000,0.13,debt_consolidation,C,60000,0.5,5 years,18,0,RENT\n",
        encoding="utf-8",
    )
    ran = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ran.returncode == 0
    written = [path.read_text("utf-8") for path in tmp_path.glob("scored*")]
    assert SHA256 in "".join([ran.stdout, *written])


def test_the_client_of_the_readme(system: System) -> None:
    """The snippet runs as it stands."""
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    code = "\n".join(snippet).replace("http://127.0.0.1:5000", f"http://127.0.0.1:{system.port}")
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT, env=dict(os.environ)
    )
    assert ran.returncode == 0, ran.stderr
    assert "%" in ran.stdout
