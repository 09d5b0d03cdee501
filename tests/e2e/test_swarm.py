"""The stack on a real orchestrator: replicas come and go, are killed, and models change, under load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LOAN, Made
from tests.e2e.pods import docker
from tests.e2e.test_hostile_requests import wrong
from tests.integration.system import ROOT, Load, ask, free_port, until
from tests.unit.deploy.rendered import VERSION

pytestmark = pytest.mark.docker
STACK = ROOT / "deploy" / "swarm" / "stack.yml"


class Stack:
    """``docker stack deploy`` of the file as it is, with models and a port of its own."""

    def __init__(self, models: Path) -> None:
        self.name = f"peerloan{uuid.uuid4().hex[:6]}"
        self.port = free_port()
        own = {"PORT": str(self.port), "MODELS_DIR": str(models), "RATE_LIMIT": "1000000", "VERSION": VERSION}
        self.environment = {**os.environ, **own}

    def deploy(self, made: Made) -> None:
        """Bring out the stack with this model's pin; what is the same is left alone."""
        pin = {"MODEL_FILE_NAME": made.path.name, "MODEL_SHA256": made.sha256}
        command = ["docker", "stack", "deploy", "--resolve-image", "never", "-c", str(STACK), self.name]
        done = subprocess.run(command, env={**self.environment, **pin}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def replicas(self) -> dict[str, str]:
        """The containers of the prediction API that run, with what the engine says of their health."""
        listed = docker("ps", "--filter", f"name={self.name}_predict", "--format", "{{.ID}} {{.Status}}")
        return dict(line.split(" ", 1) for line in listed.splitlines())

    def scale(self, number: int) -> None:
        """More or fewer replicas, and wait until it is so."""
        docker("service", "scale", "--detach", f"{self.name}_predict={number}")
        self.settled(number)

    def settled(self, number: int) -> None:
        def so() -> bool:
            found = self.replicas()
            return len(found) == number and all("(healthy)" in status for status in found.values())

        until(so, 90, f"{number} replicas")

    def serving(self, made: Made) -> None:
        """Wait until the proxy's answers come from this model, confirmed."""

        def so() -> bool:
            facts = json.loads(ask(self.port, "GET", "/readyz")[2])
            return facts.get("model_version") == made.sha256 and facts["confirmed"]

        until(so, 90, f"serving {made.sha256[:8]}")


@pytest.fixture(scope="module")
def stack(
    compose: list[str], images: None, bundles: list[Made], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A swarm of this one machine, which it leaves at the end."""
    if json.loads(docker("info", "--format", "{{json .Swarm.LocalNodeState}}")) != "inactive":
        pytest.skip("this engine is part of a swarm: it is left alone")
    models = tmp_path_factory.mktemp("swarm") / "models"  # the folder above is for nobody else to read
    models.mkdir()
    for made in bundles:
        shutil.copy(made.path, models)
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    made_stack = Stack(models)
    try:
        made_stack.deploy(bundles[0])
        made_stack.serving(bundles[0])
        made_stack.settled(3)
        yield made_stack
    finally:
        subprocess.run(["docker", "stack", "rm", made_stack.name], capture_output=True, check=False, timeout=120)
        until(lambda: not docker("ps", "-q", "--filter", f"name={made_stack.name}_"), 90, "the stack is gone")
        docker("swarm", "leave", "--force")
        left = [("rm", "-f", own) for own in docker("ps", "-aq", "--filter", f"name={made_stack.name}_").split()]
        volumes = docker("volume", "ls", "-q", "--filter", f"name={made_stack.name}_").split()
        for arguments in [
            *left,
            *(("volume", "rm", "-f", volume) for volume in volumes),
        ]:  # or it goes by itself just now
            subprocess.run(["docker", *arguments], capture_output=True, check=False, timeout=120)


@pytest.mark.slow
def test_nothing_fails_while_replicas_come_go_and_die_and_models_change(stack: Stack, bundles: list[Made]) -> None:
    """Three replicas, another model, one killed, scaled to one and back: 0 failed, 0 stale; only the model's task is new."""
    before = set(stack.replicas())
    with Load(stack.port, LOAN, clients=4) as load:
        stack.deploy(bundles[1])
        stack.serving(bundles[1])
        assert set(stack.replicas()) == before
        docker("kill", next(iter(stack.replicas())))
        stack.settled(3)
        stack.scale(1)
        stack.scale(3)
        time.sleep(0.5)
    assert load.failed() == []
    assert load.stale() == []
    assert {answer.version for answer in load.answers} == {made.sha256 for made in bundles}
    assert len(load.answers) > 1000


@pytest.mark.slow
def test_through_the_stacks_proxy_each_hostile_request_gets_its_status(stack: Stack) -> None:
    """The same replicas answer on."""
    before = set(stack.replicas())
    document = json.dumps(LOAN).encode()
    kind = {"Content-Type": "application/json"}
    assert wrong(stack.port, lambda: ask(stack.port, "POST", "/predict", document, kind)[0]) == []
    assert set(stack.replicas()) == before
