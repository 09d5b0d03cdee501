"""What every source file keeps to, so that it does the same on every machine."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "benchmarks",
    "comparison",
    "data",
    "deploy",
    "fairness",
    "notices",
    "late_payers",
    "learning",
    "logexport",
    "modelbundle",
    "portfolio",
    "services",
    "tests",
)


def sources() -> Iterator[Path]:
    yield from sorted(ROOT.glob("*.py"))
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def takes_the_locale(call: ast.Call) -> bool:
    """Text of a file, without the name of its encoding."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = len(call.args)
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name in ("read_text", "write_text"):
        return given < (1 if name == "read_text" else 2)
    if name not in ("open", "fdopen"):
        return False
    modes = [a.value for a in (*call.args[:2], *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
    return any(isinstance(mode, str) and set(mode) <= set("rwax+t") and mode for mode in modes)


def test_text_is_utf_8_whatever_the_locale() -> None:
    """Files are read and written in an encoding that is named: the locale's is not everywhere UTF-8."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and takes_the_locale(node)
    ]
    assert found == []


def test_the_services_know_nothing_of_lending() -> None:
    """What a model is about, its bundle says. ``peerloan`` is the product's name; a migration that has run stays as it is."""
    words = re.compile(
        r"(?<!peer)loan|borrow|\blend|\bdebt|\bpayers?\b|payment|is_late|not.late|late.payer", re.IGNORECASE
    )
    files = [path for path in (ROOT / "services").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if path.parent.name != "versions"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


def test_no_file_has_the_marks_of_a_merge() -> None:
    """A list that many change is where two changes meet."""
    marks = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)
    places = [*ROOT.glob("*.*"), *sources(), *(ROOT / "docs").rglob("*.md"), *(ROOT / "env-setup").iterdir()]
    texts = [path for path in places if path.suffix in (".md", ".py", ".toml", ".yml", ".txt", ".in")]
    assert len(texts) > 300
    assert [str(path) for path in texts if marks.search(path.read_text("utf-8"))] == []


def test_files_and_packages_are_small() -> None:
    """A file has at most 400 lines and a package at most 12 modules: more is two things under one name."""
    long = [str(path.relative_to(ROOT)) for path in sources() if len(path.read_text("utf-8").splitlines()) > 400]
    code = [path for path in sources() if "tests" not in path.relative_to(ROOT).parts and "versions" not in path.parts]
    modules = Counter(path.parent for path in code if path.name != "__init__.py")
    wide = {str(folder.relative_to(ROOT)): number for folder, number in modules.items() if number > 12}
    assert (long, wide) == ([], {})
