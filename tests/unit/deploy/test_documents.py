"""What the documents name is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.unit.deploy.rendered import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@documents
def test_links_lead_somewhere(document: Path) -> None:
    """To a file of the repository, and to a heading where one is named."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, heading = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), target
        if heading:
            found = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}, target


@documents
def test_commands_exist(document: Path) -> None:
    """Every target of make and every module that a document runs."""
    text = document.read_text("utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    code = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))
    assert set(re.findall(r"\bmake ([a-z][a-z0-9-]+)", code)) <= targets
    for module in re.findall(r"python -m ([a-z_.]*[a-z_])", code):
        assert importlib.util.find_spec(module), module
