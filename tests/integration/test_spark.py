"""The same book on Spark, in local mode: the same answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Made
from tests.integration.system import ROOT
from tests.integration.test_portfolio import make_rows, read_csv, score, write_csv

PYTHON = Path(os.environ.get("SPARK_VENV", ROOT / ".venv-spark")) / "bin" / "python"
ROWS = 200_000


@pytest.fixture
def spark() -> Path:
    """Python with PySpark in an environment of its own, where there is one, and Java."""
    missing = [what for what, there in ((str(PYTHON), PYTHON.exists()), ("java", shutil.which("java"))) if not there]
    if missing and os.environ.get("REQUIRE_SPARK") != "1":
        pytest.skip(f"needs {' and '.join(missing)}: make score-spark makes the environment")
    assert not missing
    return PYTHON


def test_spark_gives_the_same_answers(spark: Path, bundles: list[Made], tmp_path: Path) -> None:
    """Row by row, bit by bit, what one machine writes; and every row that it rejects, with the same words."""
    book = write_csv(tmp_path / "book.csv", make_rows(ROWS, bad=0.01))
    model = ["--model", bundles[0].path]
    here = score(book, tmp_path / "here.parquet", *model)
    command = [spark, "-m", "portfolio.spark", book, tmp_path / "there", *model, "--master", "local[2]", "--json"]
    environment = {**os.environ, "PYSPARK_PYTHON": str(spark), "SPARK_LOCAL_DIRS": str(tmp_path / "spark")}
    ran = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=240, env=environment)
    assert ran.returncode == 0, ran.stderr
    there = json.loads(ran.stdout)
    assert {k: there[k] for k in ("rows", "scored", "rejected", "model_version")} == {
        k: here[k] for k in ("rows", "scored", "rejected", "model_version")
    }
    one = pq.read_table(tmp_path / "here.parquet").replace_schema_metadata()
    other = pq.read_table(tmp_path / "there").drop_columns("model_version").replace_schema_metadata()
    assert other.sort_by("id").equals(one.sort_by("id"))
    errors = sorted(row["error"] for row in read_csv(tmp_path / "here.parquet.rejected.csv") if row["pointer"])
    parts = [row for part in (tmp_path / "there.rejected").glob("*.csv") for row in read_csv(part)]
    assert sorted(row["error"] for row in parts if row["pointer"]) == errors
    assert len(parts) == here["rejected"]
