"""The tables of a large forest are in memory once for all workers of a replica."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.swaps import forests
from modelbundle.format import archive, bundle
from tests.conftest import SHIPPED
from tests.integration.system import System, running, until

WORKERS = 2


@pytest.fixture
def forest_system(tmp_path: Path, forest: Path) -> Iterator[tuple[System, str]]:
    """A replica that answers from the forest, and its SHA-256."""
    with running(tmp_path, WORKERS=str(WORKERS)) as system:
        sha256 = archive.digest(forest.read_bytes())
        (system.models / "forest.bundle").write_bytes(forest.read_bytes())
        system.pin("forest.bundle", sha256)
        system.start_model()
        system.start_predict()
        system.serving(sha256)
        yield system, sha256


def answer(system: System, forest: Path) -> tuple[list[float], str]:
    """The probabilities of a golden row, and the model's version."""
    model = bundle.read(forest)
    record = dict(zip(model.schema.names, model.manifest.golden.rows[-1], strict=True))
    found = system.post(record)[2]
    return found["predict_proba"], found["model_version"]


def mapped(pid: int) -> set[int]:
    """The inodes of the files with tables that a process has mapped; it may read them, and not write to them."""
    found = set()
    for line in Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines():
        if match := re.fullmatch(r"\S+ r--s \S+ \S+ (\d+) +\S+\.tables(?: \(deleted\))?", line):
            found.add(int(match[1]))
    return found


def all_map(system: System, tables: Path) -> bool:
    """Whether all workers have the file mapped, and no other one."""
    workers = system.workers()
    return len(workers) == WORKERS and all(mapped(pid) == {tables.stat().st_ino} for pid in workers)


def test_all_workers_map_one_file_and_it_goes_with_its_model(forest_system: tuple[System, str], forest: Path) -> None:
    """A worker that is born later maps it too. Two models later, neither the file nor a mapping of it is left."""
    system, sha256 = forest_system
    tables = system.state / "bundles" / f"{sha256}.tables"
    until(lambda: all_map(system, tables), 20, "all workers have mapped the tables")
    assert tables.stat().st_mode & 0o777 == 0o400
    os.kill(system.workers()[0], 9)
    until(lambda: all_map(system, tables), 20, "the new worker has mapped them too")
    assert system.log("tables not shared") == []

    for seed in (1, 2):
        other = forests.make(SHIPPED, system.models / f"other-{seed}.bundle", 1.5, depth=9, seed=seed)
        pinned = archive.digest(other.read_bytes())
        system.pin(other.name, pinned, allow=("contract", "scores", "probation"))
        system.serving(pinned)
    until(lambda: not tables.exists(), 20, "the file is removed with its model")
    until(lambda: all_map(system, system.state / "bundles" / f"{pinned}.tables"), 20, "only the last model is mapped")


def test_a_replica_that_starts_makes_the_tables_anew_where_they_were_changed(
    forest_system: tuple[System, str], forest: Path
) -> None:
    """It answers what it answered before; without a model service, from what is on its disk."""
    system, sha256 = forest_system
    before = answer(system, forest)
    tables = system.state / "bundles" / f"{sha256}.tables"
    right = tables.read_bytes()
    system.stop_predict()
    system.stop_model()
    tables.unlink()
    tables.write_bytes(bytes(len(right)))
    tables.chmod(0o400)
    system.start_predict()
    assert answer(system, forest) == before
    assert before[1] == sha256
    assert tables.read_bytes() == right
    until(lambda: all_map(system, tables), 20, "all workers have mapped the tables")


def test_tables_that_are_written_over_are_not_answered_from(forest_system: tuple[System, str], forest: Path) -> None:
    """Each worker notices, says so, and loads the model anew."""
    system, sha256 = forest_system
    tables = system.state / "bundles" / f"{sha256}.tables"
    until(lambda: all_map(system, tables), 20, "all workers have mapped the tables")
    before = answer(system, forest)
    right, inode = tables.read_bytes(), tables.stat().st_ino
    tables.chmod(0o600)
    with tables.open("r+b") as file:
        file.write(bytes(len(right)))
    os.utime(tables, ns=(0, 0))
    until(lambda: len(system.log("tables changed on the disk")) >= WORKERS, 20, "all workers have noticed")
    until(lambda: tables.stat().st_ino != inode and all_map(system, tables), 20, "all workers have mapped new ones")
    assert answer(system, forest) == before
    assert tables.read_bytes() == right


def test_tables_that_are_cut_short_end_no_more_than_the_workers_that_read_them(
    forest_system: tuple[System, str], forest: Path
) -> None:
    """A read past the end of a mapped file is a signal. Who noticed before reads no more; a new worker makes the file anew."""
    system, sha256 = forest_system
    tables = system.state / "bundles" / f"{sha256}.tables"
    until(lambda: all_map(system, tables), 20, "all workers have mapped the tables")
    before = answer(system, forest)
    right, inode = tables.read_bytes(), tables.stat().st_ino
    tables.chmod(0o600)
    os.truncate(tables, 0)

    def answered() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):  # its worker died
            assert answer(system, forest) == before
        return tables.stat().st_ino != inode and all_map(system, tables)

    until(answered, 30, "all workers have mapped new ones")
    assert tables.read_bytes() == right
    assert answer(system, forest) == before
