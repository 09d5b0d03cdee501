"""The scripts run with what ``make run`` installs, and name the make target where that is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "predict-late-payers-basic-model.py": "make basic",
    "data/simulate.py": "make simulate",
    "make_test_request.py": "make ask",
}

# Runs the imports of a script where only the distributions that a file of requirements names can be imported.
IMPORTS = r"""
import ast, importlib.metadata, re, sys
from pathlib import Path

script, requirements = map(Path, sys.argv[1:])
sys.path.insert(0, ".")
tree = ast.parse(script.read_text("utf-8"))
tree.body = [
    node
    for node in tree.body
    if isinstance(node, ast.Import | ast.ImportFrom)
    or (isinstance(node, ast.Try) and isinstance(node.body[0], ast.Import | ast.ImportFrom))
]


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


found = re.findall(r"^([\w.-]+)(?:\[.*\])?==", requirements.read_text("utf-8"), re.MULTILINE)
installed = set(map(plain, found))
modules = importlib.metadata.packages_distributions().items()
absent = {module for module, names in modules if not installed & set(map(plain, names))}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
exec(compile(tree, script.name, "exec"), {"__file__": str(script)})
"""


def imports(script: str, requirements: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORTS, script, str(requirements)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_only_what_make_run_installs(script: str) -> None:
    """Matplotlib and interpret are not in ``predict.txt``."""
    ended = imports(script, ROOT / "env-setup" / "predict.txt")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(("script", "target"), SCRIPTS.items())
def test_a_script_without_its_packages_names_the_make_target(script: str, target: str, tmp_path: Path) -> None:
    """One line, no stack trace."""
    nothing = tmp_path / "nothing.txt"
    nothing.touch()
    ended = imports(script, nothing)
    assert ended.returncode == 1
    assert ended.stderr.startswith("No module named ")
    assert f"`{target}`" in ended.stderr
    assert ended.stderr.count("\n") == 1
