"""The Dockerfiles: linted, and with every module of ours that the service imports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.rendered import ROOT

images = pytest.mark.parametrize("name", ["predict", "model"])
LINT = Path(sys.executable).parent / "hadolint"
IMPORT_ALL = """
import importlib, pkgutil, sys
import services
names = [m.name for m in pkgutil.walk_packages(services.__path__, "services.")]
for name in names:
    if not name.endswith(("__main__", "wsgi")) and ".migrations" not in name:
        importlib.import_module(name)
ours = [m for n, m in sys.modules.items() if n.partition(".")[0] in ("services", "modelbundle") and m.__file__]
assert all(m.__file__.startswith(sys.argv[1]) for m in ours)
print(len(ours))
"""


@images
def test_the_linter_has_nothing_to_say(name: str) -> None:
    """hadolint, with all its rules."""
    done = subprocess.run([LINT, f"services/{name}/Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@images
def test_an_image_has_every_module_that_its_service_imports(name: str, tmp_path: Path) -> None:
    """What the Dockerfile copies is enough to import every module of it."""
    copies = re.findall(
        r"^COPY (?!--)(.+)$", (ROOT / "services" / name / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    for line in copies:
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.endswith(".py"):
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, tmp_path / target)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


@images
def test_what_runs_brings_nothing_of_the_build(name: str) -> None:
    """The last stage installs nothing, and is nobody's release unless it is told which."""
    last = (ROOT / "services" / name / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]
    assert "pip" not in last
    assert "USER 10001:10001" in last
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", last))
    assert {"title", "version", "revision", "created"} <= labels


@images
def test_no_image_has_the_evaluation_by_group(name: str) -> None:
    """Neither its library nor its code: a group is known outside the service."""
    locked = {
        file: set(re.findall(r"^([\w.-]+)(?:\[.*\])?==", (ROOT / "env-setup" / file).read_text("utf-8"), re.MULTILINE))
        for file in (f"{name}.txt", "fairness.txt", "dev.txt")
    }
    assert "fairlearn" in locked["fairness.txt"] & locked["dev.txt"]
    assert "fairlearn" not in locked[f"{name}.txt"]
    copies = re.findall(r"^COPY (.+)$", (ROOT / "services" / name / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert copies
    assert not [line for line in copies if {"fairness", "fairness/", ".", "./"} & set(line.split()[:-1])]


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/swarm/stack.yml"])
def test_no_container_dumps_its_memory(file: str) -> None:
    """A proxy's or a database's memory has what callers sent, too."""
    services = yaml.safe_load((ROOT / file).read_text("utf-8"))["services"]
    assert {name: facts.get("ulimits") for name, facts in services.items()} == {name: {"core": 1} for name in services}
