"""The values of processes that have ended: kept, once, in one file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from services.web import process_metrics
from tests.integration.system import ROOT

COUNTING = """
from prometheus_client import Counter, Gauge, Histogram
asked, took = Counter("asked", "", ["route"]), Histogram("took", "", buckets=[1, 2])
now = Gauge("now", "", multiprocess_mode="livesum")
asked.labels("/a").inc(2); asked.labels("/é").inc(3); took.observe(1.5); now.set(7)
"""
BEGINS = """
import os, sys
from services.web import process_metrics
process_metrics.begin()
print(os.environ[process_metrics.VARIABLE], flush=True)
"""
UNTIL_TOLD = "sys.stdin.read()"
ANOTHER_PROGRAM = "os.execv(sys.executable, [sys.executable, '-c', 'import sys; sys.stdin.read()'])"


def count(directory: Path) -> None:
    """A process counts, and ends."""
    environment = {**os.environ, process_metrics.VARIABLE: str(directory)}
    subprocess.run([sys.executable, "-c", COUNTING], env=environment, check=True)


def values(directory: Path) -> dict[tuple[str, str], float]:
    """What a scrape sees."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    text = generate_latest(registry).decode()
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_of_the_dead_are_kept_in_two_files_however_many_die(tmp_path: Path) -> None:
    """The first file has no other to add to; gauges go with their process."""
    for died in (1, 2, 3):
        count(tmp_path)
        process_metrics.fold(tmp_path)
        found = values(tmp_path)
        assert found["asked_total", "/a"] == 2 * died
        assert found["asked_total", "/é"] == 3 * died
        assert found["took_bucket", "1.0"] == 0
        assert found["took_bucket", "2.0"] == died
        assert found["took_sum", ""] == 1.5 * died
        assert ("now", "") not in found
        assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_0.db", "histogram_0.db"]


def test_the_files_of_the_living_stay(tmp_path: Path) -> None:
    """This process lives."""
    count(tmp_path)
    [path] = tmp_path.glob("counter_*.db")
    mine = path.rename(tmp_path / f"counter_{os.getpid()}.db")
    process_metrics.fold(tmp_path)
    assert mine.exists()
    assert values(tmp_path)["asked_total", "/a"] == 2


def test_nothing_is_added_up_while_somebody_reads(tmp_path: Path) -> None:
    """The reader would see a count twice, or not at all. The next fold does it."""
    count(tmp_path)
    before = sorted(tmp_path.glob("*.db"))
    with process_metrics.reading(tmp_path):
        process_metrics.fold(tmp_path)
        assert sorted(tmp_path.glob("*.db")) == before
    process_metrics.fold(tmp_path)
    assert len(list(tmp_path.glob("*.db"))) == 2


def test_a_directory_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    process_metrics.fold(tmp_path / "gone")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@contextmanager
def living(more: str = UNTIL_TOLD) -> Iterator[Path]:
    """A service that lives meanwhile: its directory."""
    command = [sys.executable, "-c", BEGINS + more]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Path(process.stdout.readline().strip())


def begin_and_end() -> Path:
    """A service that does not remove its directory."""
    return Path(subprocess.check_output([sys.executable, "-c", BEGINS], cwd=ROOT, text=True).strip())


def test_a_service_removes_what_killed_ones_left_and_nothing_of_one_that_lives(temporary: Path) -> None:
    """The lock ends with the last process of a service, also of one that was killed."""
    (temporary / f"{process_metrics.PREFIX}killed").mkdir()
    (temporary / f"{process_metrics.PREFIX}killed" / "counter_1.db").write_bytes(b"")
    (temporary / "another").mkdir()
    with living() as kept:
        ended = begin_and_end()
        assert sorted(temporary.iterdir()) == sorted([temporary / "another", kept, ended])
    begin_and_end()
    assert not kept.exists()
    assert not ended.exists()


def test_the_program_that_follows_is_the_same_service(temporary: Path) -> None:
    """``exec`` replaces the process that made the directory by the server's."""
    with living(ANOTHER_PROGRAM) as kept:
        begin_and_end()
        assert kept.exists()


def test_a_link_of_somebody_is_not_followed(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("target")
    (target / "file").write_text("kept", "utf-8")
    (temporary / f"{process_metrics.PREFIX}link").symlink_to(target)
    begin_and_end()
    assert (target / "file").exists()
