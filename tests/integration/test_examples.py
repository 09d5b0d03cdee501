"""What the documents show is what the API does: every example is sent to the model that ships, and every command is run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.deployment.local import EXAMPLE
from tests.integration.examples import Example, blocks, read, settled, without
from tests.integration.system import ROOT, System, ask, running, until

KEY = "example-key"
SHIPPED = ROOT / "models" / "late-payers.bundle"
SHA256 = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
DOCS = ROOT / "docs"
ERRORS = DOCS / "errors.md"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
COMMANDS = {
    f"{document.stem}-{position}": block
    for document in DOCUMENTS
    if document.stem != "tutorial"  # a test of its own runs its commands in their order
    for position, block in enumerate(blocks(document, "sh"))
    if block.startswith("curl ")
}
ANSWERS = {
    f"{document.stem}-{position}": example
    for document in DOCUMENTS
    if document != ERRORS
    for position, example in enumerate(read(document))
}
PRINTED = {  # each Python block of the documents, and a part of what it prints
    ("arrow.md", 0): "elevated",
    ("client.md", 0): "%",
    ("client.md", 1): "elevated",
    ("client.md", 2): "422",
    ("models.md", 0): "class_0",
    ("publishing.md", 0): "additive",
    ("retrain.md", 0): "",  # a module: it is only imported
}


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
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in (KEY, "servicer-key")]
    (root / "keys").write_text(f"example {hashes[0]}\nservicer {hashes[1]} outcomes\n", "utf-8")
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
    assert statuses == {400, 401, 403, 404, 405, 409, 413, 415, 421, 422}


@pytest.mark.parametrize("example", ANSWERS.values(), ids=ANSWERS)
def test_every_answer_of_the_other_documents(system: System, example: Example) -> None:
    """Each request gets exactly the documented answer."""
    compare(example, system)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_curl_of_the_documents(system: System, command: str, tmp_path: Path) -> None:
    """Each command prints an answer that names the model that ships."""
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


def test_the_readme_asks_and_watches() -> None:
    """The README shows how to ask and how to watch with a command that is run here."""
    assert [name for name in COMMANDS if name.startswith("README-")] == ["README-1", "README-3"]


@pytest.mark.parametrize(("page", "position"), PRINTED, ids=lambda value: str(value))
def test_every_python_block_of_the_documents(system: System, page: str, position: int, tmp_path: Path) -> None:
    """Each block runs as it stands, and prints what it says."""
    code = blocks(DOCS / page, "python")[position].replace("127.0.0.1:5000", f"127.0.0.1:{system.port}")
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    assert PRINTED[page, position] in ran.stdout


def test_no_python_block_is_left_out() -> None:
    """Every Python block of the documents is run."""
    found = {(d.name, i) for d in DOCUMENTS for i, _ in enumerate(blocks(d, "python"))}
    assert found == set(PRINTED)
