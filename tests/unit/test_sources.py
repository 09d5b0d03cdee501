"""What every source file keeps to, so that it does the same on every machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "comparison", "data", "deploy", "late_payers", "modelbundle", "portfolio", "services", "tests")


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
