"""Prints the inputs of the last logged rows: ``python -m services.predictionlog.recent SPOOL ROWS SECONDS``.

The rehearsal of a model reads them, one JSON object a line. The rows that are not shipped yet come first, then those of the
database, newest first. The last line is ``["end", trouble]``: ``trouble`` says why rows are missing, and is empty where none
are. The database is ``PREDICTION_LOG_URL``. A process of its own, at low priority, can be killed: a database that hangs holds
nothing up.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from services.predictionlog import database, event, record, spool

NICE = 5


def recent(root: Path, url: str, rows: int, seconds: float) -> Iterator[str]:
    """The inputs of at most ``rows`` rows, as JSON. ``seconds`` limits the question to the database.

    Raises :class:`sqlalchemy.exc.SQLAlchemyError` where the database does, and :class:`OSError` where the spool does.
    """
    seen: set[str] = set()
    for own, content in chain(_waiting(root), _shipped(url, rows, seconds)):
        if len(seen) == rows:
            return
        if own not in seen:
            seen.add(own)
            yield content


def _shipped(url: str, rows: int, seconds: float) -> Iterator[tuple[str, str]]:
    """The id and the input of the last rows of the database, newest first."""
    engine = database.connect(url, max(1, int(seconds)), reading=True)
    if database.revision(engine) is None:
        return  # nothing was shipped yet
    columns = database.predictions.c
    with engine.connect() as connection:
        last = sa.select(columns.prediction_id, columns.input).order_by(columns.time.desc()).limit(rows)
        yield from map(tuple, connection.execute(last))


def _waiting(root: Path) -> Iterator[tuple[str, str]]:
    """The id and the input of the rows in the spool, newest segment first. Damaged lines are left out, as the shipper does."""
    found = []
    for path in (*root.glob(f"*/*{spool.OPEN}"), *root.glob(f"*/*{spool.CLOSED}")):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(found, reverse=True):
        with contextlib.suppress(FileNotFoundError):  # it was shipped meanwhile, so the database has its rows
            for line in spool.lines(path):
                if not event.is_one(line):
                    with contextlib.suppress(msgspec.MsgspecError):
                        for row in record.decode(line).rows():
                            yield row["prediction_id"], row["input"]


def main(root: str, rows: str, seconds: str) -> int:
    """The command."""
    with contextlib.suppress(OSError):
        os.nice(NICE)
    trouble = ""
    try:
        for content in recent(Path(root), os.environ["PREDICTION_LOG_URL"], int(rows), float(seconds)):
            sys.stdout.write(content + "\n")
    except (SQLAlchemyError, OSError) as error:
        trouble = f"the log cannot be read ({type(getattr(error, 'orig', None) or error).__name__})"
    sys.stdout.write(msgspec.json.encode(["end", trouble]).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
