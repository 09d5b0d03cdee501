"""A Spark cluster of one machine: a real standalone master and workers, as the PySpark package has them, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.system import free_port, until

CONFIGURATION = """
spark.executor.memory 512m
spark.driver.memory 512m
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.master.rest.enabled false
"""


class Cluster:
    """A master and ``workers`` workers of one core each; so an application has an executor at each worker.

    All that they write is below ``root``. They do not know where this repository is.
    """

    def __init__(self, python: Path, root: Path, workers: int = 2) -> None:
        found = [str(python), "-c", "import os, pyspark; print(os.path.dirname(pyspark.__file__))"]
        self.home = Path(subprocess.run(found, capture_output=True, text=True, check=True).stdout.strip())
        self.root = root
        self.workers = workers
        self.processes: list[subprocess.Popen[bytes]] = []
        self.master = f"spark://127.0.0.1:{free_port()}"
        self.page = f"http://127.0.0.1:{free_port()}"
        for name in ("temporary", "configuration", "local"):
            (root / name).mkdir()
        (root / "configuration" / "spark-defaults.conf").write_text(CONFIGURATION, "utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_", "PYTHONPATH"))}
        self.environment = kept | {
            "SPARK_HOME": str(self.home),
            "SPARK_CONF_DIR": str(root / "configuration"),
            "SPARK_LOCAL_DIRS": str(root / "local"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_HOSTNAME": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            "PYSPARK_PYTHON": str(python),
            "TMPDIR": str(root / "temporary"),
            "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={root / 'temporary'} -XX:-UsePerfData",
        }

    def start(self) -> None:
        """Start the master and its workers, and wait until the master knows them."""
        addresses = [self.master.rpartition(":")[2], "--webui-port", self.page.rpartition(":")[2]]
        self._run("master", "master.Master", "--port", *addresses)
        for number in range(self.workers):
            memory = ["--cores", "1", "--memory", "1g", "--work-dir", str(self.root / f"worker-{number}")]
            self._run(f"worker-{number}", "worker.Worker", "--port", "0", "--webui-port", "0", *memory, self.master)
        until(lambda: self.alive() == self.workers, 60, "the workers have registered")

    def _run(self, name: str, kind: str, *options: str) -> None:
        command = [str(self.home / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1"]
        with (self.root / f"{name}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [*command, *options],
                    cwd=self.root,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )

    def facts(self) -> Any:
        """What the master says of workers and applications."""
        with urllib.request.urlopen(f"{self.page}/json/", timeout=10) as answer:
            return json.loads(answer.read())

    def alive(self) -> int:
        """The number of workers that the master can use."""
        return sum(worker["state"] == "ALIVE" for worker in self.facts()["workers"])

    def executors(self, worker: int) -> list[Path]:
        """The directories of the executors that a worker has started, one for each; Spark names them after the application."""
        return sorted((self.root / f"worker-{worker}").glob("app-*/*"))

    def spark_submit(self, *arguments: object, python_path: object, timeout: float = 600) -> Any:
        """Run ``spark-submit`` with this cluster's master, below ``root``; returns the summary that the command prints."""
        command = [str(self.home / "bin" / "spark-submit"), "--master", self.master, *map(str, arguments)]
        environment = {**self.environment, "PYTHONPATH": str(python_path)}
        ran = subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, timeout=timeout, env=environment, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout.splitlines()[-1])  # spark-submit writes Python's standard error there too

    def stop(self) -> None:
        """End everything that was started, whatever state it is in."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and the executors of a worker that did not end them
            process.wait(20)


@contextlib.contextmanager
def running(python: Path, root: Path) -> Iterator[Cluster]:
    """A cluster with two workers, gone at the end."""
    root.mkdir()
    cluster = Cluster(python, root)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
