"""Prints the inputs of the last logged rows: ``python -m services.predict.recent_rows SPOOL ROWS``.

The rehearsal of a model reads them, one JSON object a line. The rows that are not shipped yet come first, then those of the
database, newest first. The last line is ``["end", trouble]``: ``trouble`` says why rows are missing, and is empty where none
are. The database is ``PREDICTION_LOG_URL``. A process of its own can be killed: a database that hangs holds nothing up.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec

from services.predictionlog import event, record, spool

LAST = "SELECT prediction_id, input FROM predictions ORDER BY time DESC LIMIT {}"


def recent(root: Path, url: str, rows: int) -> Iterator[str]:
    """The inputs of at most ``rows`` rows, as JSON; raises the errors of the database's driver, and :class:`OSError`."""
    seen: set[str] = set()
    for own, content in chain(_waiting(root), _shipped(url, rows)):
        if len(seen) == rows:
            return
        if own not in seen:
            seen.add(own)
            yield content


def _shipped(url: str, rows: int) -> Iterator[tuple[str, str]]:
    """The id and the input of the last rows of the database, newest first; none before the first was shipped.

    SQLite is read without SQLAlchemy, whose import takes longer than the rows: a deployment waits for this process.
    """
    if (name := url.removeprefix("sqlite:///")) != url and "?" not in name:
        path = Path(name).absolute()
        if not path.exists() and path.parent.is_dir():
            return
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'predictions'").fetchone():
                yield from connection.execute(LAST.format(rows))
        return
    import sqlalchemy as sa

    from services.predictionlog import database

    engine = database.connect(url, reading=True)
    if database.revision(engine) is not None:
        with engine.connect() as connected:
            yield from map(tuple, connected.execute(sa.text(LAST.format(rows))))


def _waiting(root: Path) -> Iterator[tuple[str, str]]:
    """The id and the input of the rows in the spool, newest segment first. Damaged lines are left out, as the shipper does."""
    found = []
    for path in (*spool.named(root, spool.OPEN), *spool.named(root, spool.CLOSED)):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(found, reverse=True):
        with contextlib.suppress(FileNotFoundError):  # it was shipped meanwhile, so the database has its rows
            for line in spool.lines(path):
                if not event.is_one(line):
                    with contextlib.suppress(msgspec.MsgspecError):
                        yield from record.inputs(line)


def main(root: str, rows: str) -> int:
    """The command."""
    trouble = ""
    try:
        for content in recent(Path(root), os.environ["PREDICTION_LOG_URL"], int(rows)):
            sys.stdout.write(content + "\n")
    except Exception as error:  # a database's errors are those of its driver; their text may hold secrets or rows
        trouble = f"the log cannot be read ({type(getattr(error, 'orig', None) or error).__name__})"
    sys.stdout.write(msgspec.json.encode(["end", trouble]).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
