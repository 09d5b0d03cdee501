"""A PostgreSQL in a container of its own that can be taken away and brought back."""

from __future__ import annotations

import secrets
import subprocess
import time

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from benchmarks.serving import free_port
from services.predictionlog import database

IMAGE = "postgres:15"
# How it may be away. Paused, it takes connections and says nothing, like a host that hangs; killed with SIGKILL, it refuses them,
# and has to recover when it comes back.
WAYS = {"silent": ("pause", "unpause"), "refused": ("kill", "start")}


class Postgres:
    """Started by the constructor, ready after :meth:`wait`, gone after :meth:`remove`.

    All of them raise :class:`RuntimeError` with Docker's complaint.
    """

    def __init__(self) -> None:
        password, port = secrets.token_hex(8), free_port()
        self.url = f"postgresql://postgres:{password}@127.0.0.1:{port}/predictions"
        environment = ("-e", f"POSTGRES_PASSWORD={password}", "-e", "POSTGRES_DB=predictions")
        published = ("-p", f"127.0.0.1:{port}:5432")
        self._container = docker("run", "-d", *environment, *published, "--user", "postgres", IMAGE)
        self._engine = database.connect(self.url, 30, reading=True)

    def wait(self, seconds: float = 60.0) -> None:
        """Until it answers; raises :class:`TimeoutError`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self._engine.connect():
                    return
            except OperationalError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"PostgreSQL does not answer; see docker logs {self._container[:12]}") from None
                time.sleep(0.2)

    def leave(self, how: str) -> None:
        """Be away, in one of :data:`WAYS`."""
        docker(WAYS[how][0], self._container)

    def come_back(self, how: str) -> None:
        """Be there again."""
        docker(WAYS[how][1], self._container)
        self.wait()

    def predictions(self) -> set[str]:
        """The ids of all that are logged; they are the table's primary key, so none is there twice."""
        with self._engine.connect() as connection:
            return set(connection.execute(sa.select(database.predictions.c.prediction_id)).scalars())

    def remove(self) -> None:
        """For good."""
        docker("rm", "--force", "--volumes", self._container)


def docker(*arguments: str) -> str:
    """What the command said."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300)
    except FileNotFoundError:
        raise RuntimeError("there is no docker on this machine") from None
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"docker {arguments[0]}: {complaint[0]}")
    return done.stdout.strip()
