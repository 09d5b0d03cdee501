"""The database behind the prediction log: SQLite, or PostgreSQL for several hosts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from modelbundle.format.outcome import UNNAMED
from services import private

HEAD = "0010"  # the last of the migrations, whose names sort
metadata = sa.MetaData()
predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String(64), primary_key=True),
    sa.Column("time", sa.String(32), nullable=False, index=True),  # ISO 8601 in UTC: sorts as it is
    sa.Column("model_version", sa.String(64), nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("key_name", sa.String(64)),
    sa.Column("record_id", sa.String(64)),
    sa.Column("probability", sa.Double, nullable=False),
    sa.Column("band", sa.String(64)),
    sa.Column("probabilities", sa.Text, nullable=False),
    sa.Column("input", sa.Text, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("warnings", sa.Text, nullable=False),
    # each in the order of time, so that a page of a search is read without the rest: see services.predictionlog.search
    sa.Index("ix_predictions_request_id_time", "request_id", "time"),
    sa.Index("ix_predictions_record_id_time", "record_id", "time"),
    sa.Index("ix_predictions_model_version_band_time", "model_version", "band", "time"),
)
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("prediction_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64)),  # as the model that answered then named the outcome
    sa.Column("value", sa.Text),  # JSON; never null, because triggers keep it in step with the next one
    sa.Column(UNNAMED.name, sa.Boolean),  # what versions before 0006 write and read
    sa.Column("time", sa.String(32), nullable=False, index=True),  # when it came
    sa.Column("key_name", sa.String(64)),
)
challenges = sa.Table(  # the challengers' scores of predictions that the champion answered; erased with them
    "challenges",
    metadata,
    sa.Column(
        "prediction_id",
        sa.String(64),
        sa.ForeignKey("predictions.prediction_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("model_version", sa.String(64), primary_key=True),
    sa.Column("probability", sa.Double, nullable=False),
    sa.Column("time", sa.String(32), nullable=False),  # when it was scored
    sa.Index("ix_challenges_model_version_time", "model_version", "time"),
)
events = sa.Table(  # switches, refusals, deployments, erasures, corrections
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False, index=True),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("event_id", sa.String(32), unique=True, index=True),
)
BEFORE, REQUEST, RECORD = "before", "request_id", "record_id"
erasures = sa.Table(  # what is not inserted any more: see services.predictionlog.erasure
    "erasures",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),  # BEFORE, REQUEST or RECORD
    sa.Column("value", sa.String(64), primary_key=True),
    sa.Column("caller", sa.String(64), primary_key=True),  # the name of a key; empty for all callers
    sa.Column("until", sa.String(32), nullable=False, index=True),  # predictions of a later time are not meant
)
chain = sa.Table(  # see services.predictionlog.chain
    "chain",
    metadata,
    sa.Column("spool", sa.String(32), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("oldest", sa.String(32), nullable=False),  # the times of its rows
    sa.Column("newest", sa.String(32), nullable=False),
    sa.Column("ids", sa.Text, nullable=False),  # JSON; null for an erased row
    sa.Column("salts", sa.LargeBinary, nullable=False),
    sa.Column("digests", sa.LargeBinary, nullable=False),
    sa.Index("ix_chain_newest_oldest", "newest", "oldest"),
)

_COLUMNS = [column.name for column in predictions.columns]
_INSERT = sa.text(
    f"INSERT INTO predictions ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
    " ON CONFLICT (prediction_id) DO NOTHING"
)
_CHALLENGE = sa.text(  # inserts nothing where the prediction has been erased meanwhile
    "INSERT INTO challenges (prediction_id, model_version, probability, time)"
    " SELECT prediction_id, :model_version, :probability, :time FROM predictions WHERE prediction_id = :prediction_id"
    " ON CONFLICT (prediction_id, model_version) DO NOTHING"
)
_ERASED = sa.text("SELECT kind, value, caller, until FROM erasures WHERE until >= :oldest")
# PostgreSQL: rows are inserted together, an erasure alone, each until its transaction ends. SQLite has one writer anyway.
TOGETHER = sa.text("SELECT pg_advisory_xact_lock_shared(7210592)")
ALONE = sa.text("SELECT pg_advisory_xact_lock(7210592)")

STEPS = 2000  # of SQLite's machine between two looks at the clock

# A server that fell silent is noticed: PostgreSQL's client, in milliseconds and seconds.
ALIVE = {"tcp_user_timeout": 5000, "keepalives_idle": 2, "keepalives_interval": 2, "keepalives_count": 2}


def connect(url: str, seconds: int | None = None, *, reading: bool = False) -> sa.Engine:
    """An engine that opens a connection for each use and keeps none, so that a fork inherits none.

    ``seconds`` limits the time of a statement and the wait for locks; without it there is no limit. With SQLite, only statements
    of an engine for ``reading`` are limited. Such an engine blocks writers only while a statement runs. Raises
    :class:`sqlalchemy.exc.ArgumentError` where ``url`` is not a URL.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        # SQLite's own temporary files, which hold rows, go beside the database. Read when its library is first used.
        os.environ.setdefault("SQLITE_TMPDIR", str(Path(parsed.database or ".").absolute().parent))
        engine = sa.create_engine(parsed, poolclass=NullPool, connect_args={"timeout": seconds or 5.0})
        if reading:
            sa.event.listen(engine, "connect", _prepare_reading)
            if seconds:
                sa.event.listen(engine, "before_cursor_execute", partial(_bound, seconds))
            return engine
        sa.event.listen(engine, "connect", partial(_prepare_sqlite, Path(parsed.database or "")))
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    bound = {"options": f"-c statement_timeout={seconds}s -c lock_timeout={seconds}s"} if seconds else {}
    alone: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if reading else {}  # each statement is a transaction
    arguments = {"connect_timeout": seconds or 5, **ALIVE, **bound}
    return sa.create_engine(parsed, poolclass=NullPool, connect_args=arguments, **alone)


def _prepare_sqlite(path: Path, connection: Any, _: Any) -> None:
    with contextlib.suppress(OSError):  # in memory, or another user's
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(private.FILE)  # its journal gets the same rights
    # Python's module begins no transaction before it makes a table: with its own handling off, a migration is one.
    connection.isolation_level = None
    # A rollback journal, not a write-ahead log: many machines' SQLite has the reset race of 3.7.0 to 3.51.2.
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten


def _prepare_reading(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # each statement is a transaction of its own
    connection.execute("PRAGMA query_only = ON")


def _bound(seconds: float, _: sa.Connection, cursor: Any, *__: Any) -> None:
    end = time.monotonic() + seconds
    cursor.connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)


def revision(engine: sa.Engine) -> str | None:
    """The last migration of the tables; None before the first. Raises :class:`sqlalchemy.exc.SQLAlchemyError`.

    A value above :data:`HEAD` is of a later version. Migrations only add what older versions can ignore, so this version can use
    such tables.
    """
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


def migrate(engine: sa.Engine) -> None:
    """Bring the database to this version's tables; raises :class:`sqlalchemy.exc.SQLAlchemyError`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7210591)"))  # one migration at a time
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def insert(engine: sa.Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows that are new and that nobody has erased, in one transaction, without a batch of a chain."""
    if rows:
        with engine.begin() as connection:
            insert_rows(connection, rows)


def insert_rows(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """:func:`insert`, within a transaction."""
    if rows := not_erased(connection, rows):
        put(connection, rows)


def put(connection: sa.Connection, rows: Sequence[Mapping[str, Any]], statement: sa.TextClause = _INSERT) -> int:
    """Insert the rows that are new, predictions or what the ``statement`` inserts; returns how many they are.

    The rows go to the driver as they are. SQLAlchemy's own handling of a row costs as much as the database, and the shipper
    shares its processor with the workers.
    """
    text, order = _compiled(statement, connection.dialect)
    parameters = list(rows) if order is None else list(map(itemgetter(*order), rows))
    options = {"preserve_rowcount": True}
    return connection.exec_driver_sql(text, parameters, execution_options=options).rowcount


@lru_cache(8)
def _compiled(statement: sa.TextClause, dialect: sa.Dialect) -> tuple[str, Sequence[str] | None]:
    """A statement for the driver, and the order of its parameters; None where the driver takes them by name."""
    compiled = statement.compile(dialect=dialect)
    return compiled.string, compiled.positiontup


def not_erased(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The rows that no erasure means. Only erasures later than the oldest row can: in quiet times, there are none."""
    if connection.dialect.name == "postgresql":
        connection.execute(TOGETHER)
    named: dict[tuple[str, str | None], list[tuple[str, str]]] = {}
    for kind, value, caller, until in connection.execute(_ERASED, {"oldest": min(row["time"] for row in rows)}):
        named.setdefault((kind, None if kind == BEFORE else value), []).append((caller, until))

    def erased(row: dict[str, Any]) -> bool:
        return any(
            caller in ("", row["key_name"]) and (row["time"] <= until if kind != BEFORE else row["time"] < until)
            for kind, value in ((RECORD, row["record_id"]), (REQUEST, row["request_id"]), (BEFORE, None))
            for caller, until in named.get((kind, value), ())
        )

    return [row for row in rows if not erased(row)] if named else rows


# Classes of SQLSTATE: cardinality, data, integrity, a program's limits (a row that is too large). The last is one state, a value
# of another type.
_OF_VALUES = ("21", "22", "23", "54", "42804")


def of_values(error: Exception) -> bool:
    """Whether an error of an insert is of the rows, which would come again, and not of the database, which may get well."""
    if isinstance(error, sa.exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        if state is not None:
            return bool(state.startswith(_OF_VALUES))
        kinds = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.NotSupportedError)
        return isinstance(error, kinds) and not error.connection_invalidated
    if isinstance(error, sa.exc.SQLAlchemyError):
        return isinstance(error, sa.exc.StatementError)
    return not isinstance(error, (OSError, MemoryError))  # the driver cannot convert a value


def challenge(engine: sa.Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Insert a challenger's scores, rows of :data:`challenges`, once per prediction and version, of predictions that exist."""
    if rows:
        with engine.begin() as connection:
            connection.execute(_CHALLENGE, rows)
