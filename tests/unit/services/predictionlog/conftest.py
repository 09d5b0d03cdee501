"""Databases of both kinds."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.predictionlog import database


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A PostgreSQL of this run, on loopback, without Docker."""
    programs = Path(shutil.which("initdb") or "").resolve().parent
    if not (programs / "postgres").exists():
        pytest.skip("there is no PostgreSQL on this machine")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = None
    if os.geteuid() == 0:  # it refuses to be root
        user = next((own.pw_name for own in pwd.getpwall() if own.pw_name in ("postgres", "nobody")), None)
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    environment = {**os.environ, "LC_ALL": "C"}
    made = [programs / "initdb", "-D", data, "-U", "tests", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(made, user=user, env=environment, cwd=folder, check=True, capture_output=True)
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
    running = subprocess.Popen(
        [programs / "postgres", "-D", data, *options],
        user=user,
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"postgresql://tests@127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        (tmp_path / "data").mkdir()
        return f"sqlite:///{tmp_path / 'data' / 'predictions.sqlite'}"
    server: str = request.getfixturevalue("server")
    admin = database.connect(f"{server}/postgres", 20).execution_options(isolation_level="AUTOCOMMIT")
    name = f"t{uuid.uuid4().hex}"
    patient(lambda: execute(admin, f"CREATE DATABASE {name}"))
    return f"{server}/{name}"


def execute(engine: sa.Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def patient(work: Callable[[], None]) -> None:
    """A server that has just been started may not answer yet."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return work()
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
