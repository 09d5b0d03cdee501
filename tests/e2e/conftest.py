"""A compose project of the tests' own, built and run on a real engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.deployment.compose import find_compose
from tests.conftest import Made
from tests.integration.system import ROOT, ask, free_port, until
from tests.unit.deploy.rendered import VERSION


class Project:
    """``docker-compose`` in a copy of what compose needs, with models and a port of its own."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder = folder
        self.command = command
        self.port = free_port()
        self.models = folder / "models"
        self.models.mkdir()
        (folder / "keys").mkdir()
        for name in ("docker-compose.yml", ".dockerignore", "Makefile"):
            shutil.copy(ROOT / name, folder)
        for name in ("deploy", "env-setup", "modelbundle", "services"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"{folder.name}-{os.getpid()}",  # one engine for all who test at the same time
            "PORT": str(self.port),
            "RATE_LIMIT": "1000000",
        }
        self.environment = {k: v for k, v in self.environment.items() if not k.startswith("MODEL")}

    def pin(self, file: str, sha256: str) -> None:
        """What an operator does with an editor."""
        (self.folder / ".env").write_text(f"MODEL_FILE_NAME={file}\nMODEL_SHA256={sha256}\n", "utf-8")

    def run(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def renew(self, *services: str) -> None:
        """The services' containers made anew, with the environment as it is now."""
        self.run("rm", "-sf", *services)
        self.run("up", "-d", "--no-deps", *services)

    def up_model(self) -> None:
        """``up -d model``; 1.29 on a newer engine cannot recreate a container, so there it is removed first."""
        if self.command[-1].endswith("docker-compose"):
            self.run("rm", "-sf", "model")
        self.run("up", "-d", "--no-deps", "model")

    def containers(self, service: str) -> list[str]:
        return self.run("ps", "-q", service).split()

    def docker(self, *arguments: str) -> str:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=120).stdout

    def post(self, document: Any, **own: str) -> tuple[int, dict[str, str], Any]:
        body = json.dumps(document).encode()
        status, headers, raw = ask(self.port, "POST", "/predict", body, {"Content-Type": "application/json", **own})
        return status, headers, json.loads(raw)

    def readyz(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(ask(self.port, "GET", "/readyz")[2])
        return facts

    def serving(self, sha256: str, seconds: float = 60) -> None:
        """Wait until the proxy's answers come from a model and the follower has confirmed it."""
        until(
            lambda: (f := self.readyz()).get("model_version") == sha256 and f["confirmed"],
            seconds,
            f"serving {sha256[:8]}",
        )


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """The compose command; skips where there is no engine, unless REQUIRE_DOCKER is set."""
    command = find_compose()
    engine = bool(command) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    if not engine:
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail("REQUIRE_DOCKER is set and there is no Docker engine with compose")
        pytest.skip("no Docker engine with compose on this machine")
    return command


@pytest.fixture(scope="session")
def images(compose: list[str]) -> None:
    """Both services' images, with this release's version."""
    for name in ("predict", "model"):
        tag, source = f"peerloan/{name}:{VERSION}", f"services/{name}/Dockerfile"
        command = ["docker", "build", "--network", "host", "-t", tag, "-f", source, "."]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=900)


@pytest.fixture(scope="session")
def project(compose: list[str], bundles: list[Made], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Built, up, and answering with the first bundle; removed with its volumes at the end."""
    made = Project(tmp_path_factory.mktemp("peerloan"), compose)
    for bundle in bundles:
        shutil.copy(bundle.path, made.models)
    made.pin(bundles[0].path.name, bundles[0].sha256)
    try:
        made.run("up", "--build", "-d")
        made.serving(bundles[0].sha256, 120)
        yield made
    finally:
        (made.folder / "compose.log").write_text(made.run("logs", "--no-color", "--timestamps", check=False), "utf-8")
        made.run("down", "-v", "--remove-orphans", check=False)


@pytest.fixture
def fresh(project: Project, bundles: list[Made]) -> Project:
    """The project with one replica and the first bundle pinned and answering, whatever the test before did."""
    for bundle in bundles:
        shutil.copy(bundle.path, project.models)
    project.pin(bundles[0].path.name, bundles[0].sha256)
    project.up_model()
    project.run("up", "-d", "--no-recreate", "--scale", "predict=1")
    project.serving(bundles[0].sha256)
    return project
