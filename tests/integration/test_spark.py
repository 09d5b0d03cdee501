"""The same book on Spark, in local mode and on a standalone cluster, also when an executor dies: the same answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Made
from tests.integration.spark_cluster import Cluster, running
from tests.integration.system import ROOT, until
from tests.integration.test_portfolio import make_rows, read_csv, score, write_csv

pytestmark = pytest.mark.spark
PYTHON = Path(os.environ.get("SPARK_VENV", ROOT / ".venv-spark")).absolute() / "bin" / "python"
ROWS = 200_000
FILES = 6  # each is a task
FACTS = ("rows", "scored", "rejected", "model_version")

# What the executors of a test run instead: each task leaves a file that is named after its executor's process, its partition and
# its attempt. An executor's second task waits, with its first rows answered, until the test has opened the gate.
GATE = '''
import os
import time
from pathlib import Path

from portfolio import spark_batches
from pyspark import TaskContext

FOLDER = Path(__file__).parents[1] / "gate"


def executor():
    """The process of the executor: Spark's Python processes are children of a daemon that is its child."""
    status = Path(f"/proc/{os.getppid()}/status").read_text("utf-8")
    return int(status.partition("PPid:")[2].split()[0])


class Gated(spark_batches.BatchScorer):
    def __call__(self, batches):
        for number, batch in enumerate(super().__call__(batches)):
            yield batch
            if number == 0:
                wait()


def wait():
    task, own = TaskContext.get(), executor()
    (FOLDER / f"{own}.{task.partitionId()}.{task.attemptNumber()}").write_text(spark_batches.__file__, "utf-8")
    second = len(list(FOLDER.glob(f"{own}.*"))) == 2
    deadline = time.monotonic() + 600
    while second and not (FOLDER / "open").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody has opened the gate")
        time.sleep(0.02)
'''
DRIVER = """
import sys

import gate
from portfolio import spark

spark.BatchScorer = gate.Gated
sys.exit(spark.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def spark() -> Path:
    """Python with PySpark in an environment of its own, where there is one, and Java."""
    missing = [what for what, there in ((str(PYTHON), PYTHON.exists()), ("java", shutil.which("java"))) if not there]
    if missing and os.environ.get("REQUIRE_SPARK") != "1":
        pytest.skip(f"needs {' and '.join(missing)}: make score-spark makes the environment")
    assert not missing
    return PYTHON


@pytest.fixture(scope="module")
def cluster(spark: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(spark, tmp_path_factory.mktemp("spark") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of CSV with rows that are rejected in each file."""
    folder = tmp_path_factory.mktemp("book") / "book.csv"
    folder.mkdir()
    rows = make_rows(ROWS, bad=0.01)
    for number in range(FILES):
        write_csv(folder / f"part-{number}.csv", rows[number::FILES])
    return folder


def run(spark: Path, tmp_path: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run Python with PySpark on this machine, with its temporary files below ``tmp_path``."""
    own = {"PYSPARK_PYTHON": str(spark), "SPARK_LOCAL_DIRS": str(tmp_path / "spark"), "SPARK_LOCAL_IP": "127.0.0.1"}
    arguments = [str(spark), *map(str, command)]
    environment = {**os.environ, **own}
    return subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment, check=False
    )


def same(here: Any, there: Any, folder: Path) -> None:
    """Both outputs below ``folder`` have the same rows, bit by bit, and the same rejected rows, with the same words.

    Spark's reader gives a line with too few cells as a whole, and an empty cell as missing.
    """
    assert {k: there[k] for k in FACTS} == {k: here[k] for k in FACTS}
    assert here["scored"] + here["rejected"] == here["rows"] == ROWS
    assert here["rejected"] > 1000
    one = pq.read_table(folder / "here.parquet").replace_schema_metadata()
    other = pq.read_table(folder / "there").drop_columns("model_version").replace_schema_metadata()
    assert other.sort_by("id").equals(one.sort_by("id"))
    ours = read_csv(folder / "here.parquet.rejected.csv")
    parts = [row for part in (folder / "there.rejected").glob("*.csv") for row in read_csv(part)]
    assert rejected(parts) == rejected(ours)
    assert names(parts) == names(ours)
    assert len(parts) == len(ours) == here["rejected"]


def rejected(rows: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return sorted((r["pointer"], r["error"], r["record"].replace('""', "null")) for r in rows if r["pointer"])


def names(rows: list[dict[str, str]]) -> list[str]:
    """The ids in all rejected rows, also in those that are lines."""
    return sorted(name for row in rows for name in re.findall(r"L-\d+", row["record"]))


def test_spark_gives_the_same_answers(spark: Path, bundles: list[Made], book: Path, tmp_path: Path) -> None:
    """Row by row, bit by bit, what one machine writes; and every row that it rejects, with the same words."""
    model = ["--model", bundles[0].path]
    here = score(book, tmp_path / "here.parquet", *model)
    there = tmp_path / "there"
    ran = run(spark, tmp_path, "-m", "portfolio.spark", book, there, *model, "--master", "local[2]", "--json")
    assert ran.returncode == 0, ran.stderr
    same(here, json.loads(ran.stdout), tmp_path)


def test_a_cluster_gives_the_same_answers(cluster: Cluster, bundles: list[Made], book: Path, tmp_path: Path) -> None:
    """A standalone master with two workers, which have nothing of this repository: both score, and write the same rows."""
    model = ["--model", bundles[0].path]
    here = score(book, tmp_path / "here.parquet", *model)
    before = [len(cluster.executors(worker)) for worker in range(cluster.workers)]
    there = cluster.spark_submit(
        ROOT / "portfolio" / "spark.py", book, tmp_path / "there", *model, "--json", python_path=ROOT
    )
    same(here, there, tmp_path)
    assert [len(cluster.executors(worker)) for worker in range(cluster.workers)] == [n + 1 for n in before]


def test_the_loss_of_an_executor_loses_nothing(
    cluster: Cluster, bundles: list[Made], book: Path, tmp_path: Path
) -> None:
    """An executor is killed in the middle of its second task: what it was scoring, and what only it had, is scored again."""
    model = ["--model", bundles[0].path]
    here = score(book, tmp_path / "here.parquet", *model)
    gate, code = tmp_path / "gate", tmp_path / "code"
    gate.mkdir()
    code.mkdir()
    (code / "gate.py").write_text(GATE, "utf-8")
    (code / "driver.py").write_text(DRIVER, "utf-8")
    settings = {"spark.sql.files.minPartitionNum": FILES, "spark.executorEnv.PYTHONPATH": code}
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    command = [*options, code / "driver.py", book, tmp_path / "there", *model, "--json"]
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(cluster.spark_submit, *command, python_path=f"{ROOT}{os.pathsep}{code}")
        try:
            until(
                lambda: submitted.done() or waiting(gate), 120, "both executors are in the middle of their second task"
            )
            assert not submitted.done(), submitted.result()
            victim = min(tasks(gate))
            lost = set(tasks(gate)[victim])
            assert len(lost) == 2
            os.kill(victim, signal.SIGKILL)
        finally:
            (gate / "open").touch()
        there = submitted.result(600)
    same(here, there, tmp_path)
    others = {
        partition for executor, partitions in tasks(gate).items() if executor != victim for partition in partitions
    }
    assert others >= lost
    assert {Path(name.read_text("utf-8")).parents[1].name for name in gate.glob("*.*.*")} == {"portfolio-packages.zip"}


def tasks(gate: Path) -> dict[int, list[int]]:
    """The partitions of which each executor has answered rows, by the executor's process."""
    found: dict[int, list[int]] = {}
    for name in gate.glob("*.*.*"):
        executor, partition, _ = map(int, name.name.split("."))
        found.setdefault(executor, []).append(partition)
    return found


def waiting(gate: Path) -> bool:
    """Whether both executors have come to the gate."""
    return [len(partitions) for partitions in tasks(gate).values()] == [2, 2]


def test_a_master_that_cannot_be_is_an_error_in_one_line(spark: Path, bundles: list[Made], tmp_path: Path) -> None:
    """Below what Spark writes into its own log."""
    asked = ["book.csv", tmp_path / "there", "--model", bundles[0].path, "--master", "spark://nowhere"]
    ran = run(spark, tmp_path, "-m", "portfolio.spark", *asked)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("score: ")
    assert "spark://nowhere" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


TWICE = "import sys; from portfolio.spark import main; print(main(sys.argv[1:]), main([*sys.argv[1:], '--force']))"


def test_outputs_that_exist_are_refused_or_replaced(spark: Path, bundles: list[Made], tmp_path: Path) -> None:
    """Before anything is scored. With --force, rejected rows of an earlier run go, too, where none are rejected now."""
    rows = [row for row in make_rows(100, bad=0) if row[4]]  # its purpose is required
    book = write_csv(tmp_path / "book.csv", rows)
    (tmp_path / "there.rejected").mkdir()
    (tmp_path / "there.rejected" / "part-0.csv").write_text("pointer,error,record\n", "utf-8")
    asked = [book, tmp_path / "there", "--model", bundles[0].path, "--master", "local[1]"]
    ran = run(spark, tmp_path, "-c", TWICE, *asked)
    assert f"score: {tmp_path / 'there.rejected'} exists: pass --force to replace it\n" in ran.stderr
    assert ran.stdout.splitlines() == [f"{tmp_path / 'there'}: {len(rows)} rows scored, 0 rejected", "1 0"], ran.stderr
    assert pq.read_table(tmp_path / "there").num_rows == len(rows)
    assert not (tmp_path / "there.rejected").exists()
