"""The pods of ``deploy/kubernetes`` as it would be applied in production, run as containers on a Docker engine."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LOAN, Made
from tests.e2e.pods import Cluster, docker
from tests.integration.system import ROOT, Load, ask, until
from tests.unit.deploy.rendered import VERSION

pytestmark = pytest.mark.docker
KEY = {"Authorization": "Bearer secret"}
COUNT = """import sqlite3
print(sqlite3.connect("file:/var/lib/peerloan/data/predictions.sqlite?mode=ro", uri=True).execute(
    "SELECT count(*), count(DISTINCT prediction_id) FROM predictions").fetchone())"""


class Signed:
    """Models on the claim, and the key that signs them. Each pin comes with a new statement."""

    def __init__(self, folder: Path, bundles: list[Made]) -> None:
        self.models = folder / "models"
        self.models.mkdir()
        for made in bundles:
            shutil.copy(made.path, self.models)
        self.private, self.public = folder / "private.pem", folder / "public.pem"
        self._modelbundle("keys", str(self.private), str(self.public))

    def pin(self, made: Made) -> dict[str, bytes]:
        """Approve a model: sign it, and the config map that pins it."""
        path = self.models / made.path.name
        self._modelbundle("sign", str(path), "--key", str(self.private))
        return {"pin.json": json.dumps({"file": path.name, "sha256": made.sha256}).encode()}

    @staticmethod
    def _modelbundle(*arguments: str) -> None:
        command = [sys.executable, "-m", "modelbundle", *arguments]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def signed(bundles: list[Made], tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return Signed(tmp_path_factory.mktemp("signed"), bundles)


@pytest.fixture(scope="module")
def cluster(
    images: None, signed: Signed, bundles: list[Made], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three replicas, the model service and a proxy, answering with the first bundle; keys and signatures are asked for."""
    maps = {
        "api-keys": {"api-keys": f"desk {hashlib.sha256(b'secret').hexdigest()}\n".encode()},
        "model-public-key": {"model-public.pem": signed.public.read_bytes()},
        "prediction-log": {"url": b"sqlite:////var/lib/peerloan/data/predictions.sqlite"},
        "model-pin": signed.pin(bundles[0]),
    }
    made = Cluster(
        "production", tmp_path_factory.mktemp("cluster"), maps, {"models": signed.models}, RATE_LIMIT="1000000"
    )
    try:
        pods = [made.start("Deployment", "model"), *(made.start("StatefulSet", "predict", n) for n in range(3))]
        pods.append(made.start("Deployment", "proxy"))
        for pod in pods:
            made.wait(pod)
        yield made
    finally:
        made.close()


def serving(cluster: Cluster, made: Made) -> None:
    """Until every replica answers with a model, and the model service has confirmed it."""
    for pod in [name for name in cluster.pods if name.startswith("predict")]:
        until(
            lambda pod=pod: (f := cluster.get(pod, "/readyz")[1])["confirmed"] and f["model_version"] == made.sha256,
            30,
            f"{pod} serves {made.sha256[:8]}",
        )


@pytest.mark.slow
def test_a_new_pin_swaps_every_replica_and_restarts_nothing(
    cluster: Cluster, signed: Signed, bundles: list[Made]
) -> None:
    """The config map changes, back and forth, under load: 0 failed, and every container is the one that it was."""
    serving(cluster, bundles[0])
    before = {pod: (facts := cluster.facts(pod))["Id"] + facts["State"]["StartedAt"] for pod in cluster.pods}
    with Load(cluster.port, LOAN, clients=4, **KEY) as load:
        for turn in range(1, 4):
            cluster.apply("model-pin", signed.pin(bundles[turn % 2]))
            serving(cluster, bundles[turn % 2])
    assert load.failed() == []
    assert {answer.version for answer in load.answers} == {made.sha256 for made in bundles}
    after = {pod: (facts := cluster.facts(pod))["Id"] + facts["State"]["StartedAt"] for pod in cluster.pods}
    assert after == before
    assert all(cluster.facts(pod)["State"]["OOMKilled"] is False for pod in cluster.pods)


@pytest.mark.slow
def test_the_proxy_answers_in_the_apis_shape_and_keeps_metrics_inside(cluster: Cluster) -> None:
    """Without a key 401; /metrics is for Prometheus, which asks the pod; limits count whom the Ingress names."""
    assert ask(cluster.port, "POST", "/predict", b"{}", {"Content-Type": "application/json"})[0] == 401
    status, headers, raw = ask(cluster.port, "GET", "/metrics")
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert json.loads(raw)["status"] == 404


@pytest.mark.slow
def test_a_replica_that_dies_costs_no_request_and_its_successor_remembers(
    cluster: Cluster, signed: Signed, bundles: list[Made]
) -> None:
    """Killed under load; with the model service gone too, the next pod on its volume answers with the model before."""
    cluster.apply("model-pin", signed.pin(bundles[1]))
    serving(cluster, bundles[1])
    with Load(cluster.port, LOAN, clients=4, **KEY) as load:
        cluster.kill("predict-1")
        cluster.kill("model-0")
        cluster.wait(cluster.start("StatefulSet", "predict", 1))
        facts = cluster.get("predict-1", "/readyz")[1]
        cluster.start("Deployment", "model")
        serving(cluster, bundles[1])
    assert load.failed() == []
    assert (facts["model_version"], facts["confirmed"]) == (bundles[1].sha256, False)


@pytest.mark.slow
def test_a_replica_that_is_scaled_down_ships_its_log_first(cluster: Cluster, bundles: list[Made]) -> None:
    """preStop, SIGTERM, and it has ended by itself: no request failed, and each row it answered is in the database once."""

    def logged(pod: str) -> tuple[int, int]:
        volume = f"{cluster.name}-data-{pod}:/var/lib/peerloan"
        said = docker("run", "--rm", "-v", volume, f"peerloan/predict:{VERSION}", "python", "-c", COUNT)
        rows, distinct = json.loads(said.replace("(", "[").replace(")", "]"))
        return rows, distinct

    until(lambda: cluster.get("predict-2", "/readyz")[1]["ready"], 20, "predict-2 is ready")
    with Load(cluster.port, LOAN, clients=4, **KEY) as load:
        cluster.end("predict-2")
        served = len(load.answers)
    assert served > 100
    assert load.failed() == []
    spool = f"{cluster.name}-data-predict-2:/var/lib/peerloan"
    left = docker(
        *("run", "--rm", "-v", spool, f"peerloan/predict:{VERSION}"),
        *("find", "/var/lib/peerloan/data/spool", "-name", "*.segment", "-o", "-name", "*.open", "-size", "+0"),
    )
    assert left == ""
    rows, distinct = logged("predict-2")
    assert rows == distinct > 0
