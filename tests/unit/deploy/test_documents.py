"""The documents name only what exists, and are complete where they list something."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from services.predict.rollout.protocol import REFUSALS
from services.predict.settings import SETTINGS
from tests.unit.deploy.rendered import ROOT

DOCS = ROOT / "docs"
BY_HAND = ("README.md", "data/README.md", "env-setup/README.md")
DOCUMENTS = [*(ROOT / name for name in BY_HAND), *sorted(DOCS.rglob("*.md"))]
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


PATH = re.compile(
    r"(?:benchmarks|comparison|deploy|docs|env-setup|fairness|late_payers|learning|modelbundle|notices|portfolio|services|tests)/[\w./-]*\w"
)


@documents
def test_files_exist(document: Path) -> None:
    """Every file of the repository that a document names."""
    spans = re.findall(r"`([^`\n]+)`", document.read_text("utf-8"))
    assert [span for span in spans if PATH.fullmatch(span) and not (ROOT / span).exists()] == []


def test_the_readme_is_short() -> None:
    """It is read in five minutes, and fits a terminal."""
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= 1100
    assert [line for line in text.splitlines() if len(line) > 120] == []


def drawn(document: Path) -> list[str]:
    """The paths in the trees that ``document`` draws; those of directories end with a slash."""
    found = []
    for block in re.findall(r"^```tree\n(.*?)^```", document.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        above: list[str] = []
        for line in block.splitlines():
            name = line.split()[0]
            depth = (len(line) - len(line.lstrip())) // 2
            above[depth:] = [name]
            found.append("".join(above))
    return found


def test_the_map_is_the_tree() -> None:
    """Every module of the four packages is on the map once, and nothing else is."""
    paths = drawn(DOCS / "architecture.md")
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert sorted(path for path in set(paths) if paths.count(path) > 1) == []
    whole = tuple(path for path in paths if path.endswith(("/static/", "/templates/", "/migrations/")))
    modules = set()
    for package in (
        "modelbundle",
        "services",
        "portfolio",
        "late_payers",
        "comparison",
        "fairness",
        "learning",
        "logexport",
        "notices",
    ):
        for path in (ROOT / package).rglob("*.py"):
            own = str(path.relative_to(ROOT)).removesuffix("__init__.py")
            if not own.startswith(whole):
                modules.add(own)
    assert modules - set(paths) == set()


def test_the_places_of_ordinary_changes_exist() -> None:
    """Each row of the table names at least one file, and all of them are there."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    section = text.partition("## Where to change what\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!change |---).+? \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) > 16
    for row in rows:
        named = [path for path in re.findall(r"`([^`]+)`", row) if "/" in path]
        assert named, row
        assert all((ROOT / path).exists() for path in named), row


def table(heading: str) -> list[tuple[str, str]]:
    """Names and defaults in the table below ``heading`` of the page of settings."""
    section = (DOCS / "settings.md").read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (`.*?`) \| (.*?) ?\| .+ \|$", section, re.MULTILINE)


def test_every_setting_is_documented() -> None:
    """With its default, in the order of ``python -m services.predict --help``."""
    documented = [(name.strip("`"), default.strip("`")) for name, default in table("The prediction API")]
    said = {"PREDICTION_LOG_URL": "SQLite in `DATA_DIR"}
    assert documented == [(setting.name, said.get(setting.name, setting.default)) for setting in SETTINGS]


def test_the_other_settings_are_read_somewhere() -> None:
    """Those of the model service by its code, those of compose by its file."""
    model = "".join(path.read_text("utf-8") for path in (ROOT / "services" / "model").glob("*.py"))
    compose = (ROOT / "docker-compose.yml").read_text("utf-8") + (ROOT / ".env.example").read_text("utf-8")
    for heading, source in (("The model service", model), ("Compose only", compose)):
        found = [name for names, _ in table(heading) for name in re.findall(r"\w+", names)]
        assert found
        assert [name for name in found if name not in source] == []


def test_every_kind_of_refusal_is_explained_with_an_example() -> None:
    """In the order of the code: a row of the table has the kind, its meaning and an example."""
    section = (
        (DOCS / "deploying.md").read_text("utf-8").partition("## Why a model is refused\n")[2].partition("\n## ")[0]
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:3] == "| `"
    ]
    assert [row[0].strip("| `") for row in rows] == list(REFUSALS)
    assert all(len(row) == 3 and all(row) for row in rows)
