"""A compose project as a target. A pin is two lines of ``.env``; a new pin needs a new container of the model service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from modelbundle.durable import write
from modelbundle.format import allowance
from services.deployment.target import DeploymentError, ModelFile, Target, trouble
from services.model.pin import NAMES, NOT_BEFORE, SHARE, PinError, parse_share
from services.predictionlog import event

CHAMPION, CHALLENGER = ([f"{role}_{name}" for name in NAMES] for role in ("MODEL", "CHALLENGER"))
CHAMPION.append(NOT_BEFORE)
CHALLENGER.append(SHARE)


class Compose(Target):
    """The project of a directory's ``docker-compose.yml``, run by ``docker compose`` or ``docker-compose`` 1.29."""

    name = "compose"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command = find_compose()
        values = {**defaults(directory / "docker-compose.yml"), **read_env(directory / ".env")}
        self.url = f"http://127.0.0.1:{os.environ.get('PORT') or values.get('PORT') or '5000'}"
        self._defaults = values

    def running(self) -> bool:
        """Return whether the prediction API has a container."""
        return bool(self.command) and bool(self._run("ps", "-q", "predict", check=False).strip())

    def pin(self) -> ModelFile | None:
        return self._pin(CHAMPION)

    def challenger(self) -> ModelFile | None:
        return self._pin(CHALLENGER)

    def _pin(self, names: list[str]) -> ModelFile | None:
        values = {**self._defaults, **{k: v for k, v in read_env(self.directory / ".env").items() if v}}
        file, sha256, allow = (values.get(name, "") for name in names[: len(NAMES)])
        share, due = (values.get(name, "") if name in names else "" for name in (SHARE, NOT_BEFORE))
        try:
            found = allowance.parse(allow), parse_share(share), due
            return ModelFile(file, sha256, *found) if file and sha256 else None
        except allowance.AllowanceError as error:
            raise DeploymentError(f"{names[len(NAMES) - 1]} in .env {error}") from None
        except PinError as error:
            raise DeploymentError(f"{SHARE} in .env: {error}") from None

    def set_pins(self, pin: ModelFile, challenger: ModelFile | None) -> None:
        share = f"{challenger.share}" if challenger and challenger.share else ""
        other = (*(_values(challenger) if challenger else ("", "", "")), share)
        values = (*_values(pin), pin.not_before, *other)
        write_env(self.directory / ".env", dict(zip((*CHAMPION, *CHALLENGER), values, strict=True)))
        if self.command and self.command[0].endswith("docker-compose"):
            # 1.29 cannot recreate a container on a newer engine: it looks for a key of the image that is gone
            self._run("rm", "-sf", "model")
        self._run("up", "-d", "--no-deps", "model")

    def model_trouble(self) -> str | None:
        lines = self._run("logs", "--no-color", "--tail", "5", "model", check=False).splitlines()
        said = [line.partition("model service: ")[2] for line in lines if "model service: " in line]
        return said[-1] if said else None

    def challenger_trouble(self) -> str | None:
        said = self._run("exec", "-T", "model", "python", "-m", "services.web.healthcheck", "/pin", check=False)
        try:
            return trouble(json.loads(said).get("challenger"), self.challenger())
        except ValueError:
            return None

    def replicas(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for container in self._run("ps", "-q", "predict", check=False).split():
            command = ["docker", "exec", container, "python", "-m", "services.web.healthcheck", "/readyz"]
            said = subprocess.run(command, capture_output=True, text=True, timeout=30)
            try:
                found[container[:12]] = dict(json.loads(said.stdout))
            except ValueError:
                found[container[:12]] = {}
        return found

    def log(self, entry: dict[str, Any]) -> None:
        command = ["python", "-m", "services.predictionlog.event", event.DEPLOYMENT, json.dumps(entry)]
        self._run("exec", "-T", "predict", *command)

    def _run(self, *arguments: str, check: bool = True) -> str:
        environment = {k: v for k, v in os.environ.items() if k not in (*CHAMPION, *CHALLENGER)}
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        if check and done.returncode:
            raise DeploymentError(f"{' '.join(self.command)} {arguments[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout


def _values(pin: ModelFile) -> tuple[str, str, str]:
    return pin.file, pin.sha256, ",".join(pin.allow)


def find_compose() -> list[str]:
    """Return the compose command of this machine; empty if there is none."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    old = shutil.which("docker-compose")
    return [old] if old else []


def read_env(path: Path) -> dict[str, str]:
    """Return the assignments of an env file; empty if there is no file."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def write_env(path: Path, values: dict[str, str]) -> None:
    """Set some assignments of an env file atomically; other lines stay as they are."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in values]
    assignments = [f"{name}={value}" for name, value in values.items()]
    write(path, ("\n".join([*kept, *assignments]) + "\n").encode())


def defaults(path: Path) -> dict[str, str]:
    """Return the ``${NAME:-default}`` values of a compose file."""
    return dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", path.read_text("utf-8"))) if path.exists() else {}
