"""The prediction log's database: what is inserted once, migrated, and forgotten."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.predictionlog import audit, database, event, spool
from services.predictionlog.database import challenges

TIME = "2026-11-24T10:00:00.000000+00:00"


def prediction(number: int) -> dict[str, Any]:
    texts = dict.fromkeys(("probabilities", "input", "reasons", "warnings"), "[]")
    own = {"prediction_id": f"p{number}", "record_id": f"loan-{number}", "request_id": "r", "key_name": None}
    return {**own, **texts, "time": TIME, "model_version": "a" * 64, "generation": 1, "probability": 0.1, "band": None}


def said(number: int, version: str = "b", probability: float = 0.2) -> dict[str, Any]:
    return {"prediction_id": f"p{number}", "model_version": version * 64, "probability": probability, "time": TIME}


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    engine = database.connect(f"sqlite:///{tmp_path}/log.sqlite")
    database.migrate(engine)
    database.insert(engine, [prediction(1), prediction(2)])
    return engine


def test_what_a_challenger_says_is_kept_once_per_version_and_only_beside_a_prediction(engine: sa.Engine) -> None:
    """Scored again after a crash, the first word stays; of a prediction that is not there (any more) nothing is kept."""
    database.challenge(engine, [said(1), said(2), said(3)])
    database.challenge(engine, [said(1, probability=0.9), said(1, "c", 0.3)])
    (story,) = audit.find(engine, "loan-1")
    assert [(c["model_version"][0], c["probability"]) for c in story["challenges"]] == [("b", 0.2), ("c", 0.3)]
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(challenges)).scalar_one() == 3


def test_erasure_takes_what_challengers_said_too(engine: sa.Engine) -> None:
    """And a challenger that comes late finds nothing to say it of."""
    database.challenge(engine, [said(1), said(2)])
    assert audit.erase(engine, database.predictions.c.record_id == "loan-1", {"record_id": "loan-1"}) == 1
    database.challenge(engine, [said(1, "c")])
    with engine.connect() as connection:
        assert connection.execute(sa.select(challenges.c.prediction_id)).scalars().all() == ["p2"]


def test_a_row_that_the_database_does_not_take_keeps_no_other_out(tmp_path: Path) -> None:
    """It is counted and set aside with its segment; the others are in."""
    from sqlalchemy.exc import DataError

    from services.predictionlog import shipper

    taken: list[Any] = []

    def picky(_: sa.Engine, rows: list[Any]) -> None:
        if any(row["prediction_id"] == "p3" for row in rows):
            raise DataError("INSERT", {}, Exception("too long"))
        taken.extend(rows)

    rows = [prediction(number) for number in range(7)]
    assert shipper.Shipper(tmp_path, "sqlite://")._insert(picky, rows, "prediction_id") == {"p3"}
    assert taken == rows[:3] + rows[4:]


def test_the_migrations_make_the_tables_that_the_code_names(engine: sa.Engine) -> None:
    """Nothing is left to migrate."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), database.metadata) == []


def test_an_event_that_is_written_twice_is_one_row_and_sits_beside_predictions_in_the_spool(
    engine: sa.Engine, tmp_path: Path
) -> None:
    """The shipper tells the two kinds of line apart; the first of two events with one id stays."""
    from services.predictionlog.shipper import Shipper

    root = tmp_path / "spool"
    writer = spool.Writer(root, max_bytes=1)
    writer.append(event.encode("e1", event.SWITCH, 0.0, {"seconds": 1}))
    writer.turn()
    with pytest.raises(spool.Full):
        writer.append(b"a prediction\n")
    writer.append(event.encode("e1", event.SWITCH, 0.0, {}), event.encode("e2", event.REFUSAL, 1.5, {}), whatever=True)
    writer.close()
    event.append(root, event.DEPLOYMENT, {"user": "ann"})
    assert Shipper(root, f"sqlite:///{tmp_path}/log.sqlite").round()
    with engine.connect() as connection:
        rows = connection.execute(sa.select(database.events).order_by(database.events.c.time)).mappings().all()
    assert [(row["event_id"], row["kind"], row["detail"]) for row in rows[:2]] == [
        ("e1", "switch", '{"seconds":1}'),
        ("e2", "refusal", "{}"),
    ]
    assert rows[1]["time"] == "1970-01-01T00:00:01.500000+00:00"
    assert (rows[2]["kind"], rows[2]["detail"], len(rows)) == ("deployment", '{"user":"ann"}', 3)
    assert spool.oldest(root) is None


def test_the_migrations_go_back(engine: sa.Engine) -> None:
    """One by one, with what is in them."""
    from alembic import command
    from alembic.config import Config

    database.challenge(engine, [said(1)])
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert "challenges" not in sa.inspect(connection).get_table_names()
    database.migrate(engine)
    assert audit.find(engine, "loan-1")[0]["challenges"] == []


def test_the_last_migration_is_the_one_that_the_shipper_looks_for(engine: sa.Engine) -> None:
    """Without importing Alembic, which would stay in its memory."""
    from alembic.script import ScriptDirectory

    folder = str(Path(database.__file__).with_name("migrations"))
    assert ScriptDirectory(folder).get_heads() == [database.HEAD] == [database.revision(engine)]


def test_tables_of_an_older_version_are_migrated_and_those_of_a_newer_one_are_used(tmp_path: Path) -> None:
    """Whoever goes back to an older version goes on logging."""
    from services.predictionlog.shipper import Shipper

    url = f"sqlite:///{tmp_path}/log.sqlite"
    assert database.revision(database.connect(url)) is None
    assert Shipper(tmp_path / "spool", url).round()
    assert database.revision(database.connect(url)) == database.HEAD
    with database.connect(url).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    event.append(tmp_path / "spool", event.DEPLOYMENT, {"user": "ann"})
    assert Shipper(tmp_path / "spool", url).round()
    with database.connect(url).connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(database.events)) == 1


def test_a_migration_that_fails_is_trouble_and_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with the kind of the error only."""
    from services.predictionlog.shipper import Shipper

    own = Shipper(tmp_path / "spool", f"sqlite:///{tmp_path}/log.sqlite")
    with monkeypatch.context() as broken:
        broken.setattr(own, "url", f"sqlite:///{tmp_path}/nowhere/log.sqlite")
        assert not own.round()
    assert '"reason": "migrate: OperationalError"' in capfd.readouterr().out
    assert own.round()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def tables_gone(path: Path) -> None:
    with database.connect(f"sqlite:///{path}").begin() as connection:
        database.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))


def brought_back(path: Path) -> None:
    """A copy of an older version's."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    with database.connect(f"sqlite:///{path}").begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")


@pytest.mark.attack("database gone")
@pytest.mark.parametrize("harm", [Path.unlink, emptied, tables_gone, brought_back])
def test_a_database_that_is_emptied_while_the_shipper_runs_has_its_tables_again(
    tmp_path: Path, harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed, truncated, its tables dropped, or replaced by an older copy: rows do not wait for another shipper."""
    from services.predictionlog import shipper

    path, root = tmp_path / "log.sqlite", tmp_path / "spool"
    own = shipper.Shipper(root, f"sqlite:///{path}")
    event.append(root, event.DEPLOYMENT, {"user": "ann"})
    assert own.round()
    harm(path)
    if harm is brought_back:
        monkeypatch.setattr(shipper, "LOOK", -1.0)
    event.append(root, event.DEPLOYMENT, {"user": "ben"})
    own.round()  # this one may find out only
    assert own.round()
    assert database.revision(own.engine) == database.HEAD
    with own.engine.connect() as connection:
        found = set(connection.execute(sa.select(database.events.c.detail)).scalars())
    assert '{"user":"ben"}' in found
    assert spool.oldest(root) is None


def test_tables_that_are_missing_are_made_also_where_no_row_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes and the audit need them too."""
    from services.predictionlog import shipper

    own = shipper.Shipper(tmp_path / "spool", f"sqlite:///{tmp_path}/log.sqlite")
    assert own.round()
    (tmp_path / "log.sqlite").unlink()
    monkeypatch.setattr(shipper, "LOOK", -1.0)
    assert own.round()
    assert database.revision(own.engine) == database.HEAD


def test_outcomes_of_older_and_newer_versions_are_in_step(engine: sa.Engine) -> None:
    """A version before outcomes had names writes and reads its column only."""

    def rows() -> dict[str, tuple[Any, ...]]:
        with engine.connect() as connection:
            return {
                own: (*row,)
                for own, *row in connection.exec_driver_sql("SELECT prediction_id, is_late, name, value FROM outcomes")
            }

    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO outcomes (prediction_id, is_late, time) VALUES ('old', true, 't')")
        for own, value in (("new", "false"), ("text", '"paid"')):
            row = {"prediction_id": own, "name": "is_late", "value": value, "time": "t"}
            connection.execute(sa.insert(database.outcomes).values(**row))
    assert rows() == {
        "old": (True, "is_late", "true"),
        "new": (False, "is_late", "false"),
        "text": (None, "is_late", '"paid"'),
    }
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE outcomes SET is_late = false WHERE prediction_id = 'old'")
        mine = database.outcomes.c.prediction_id == "new"
        connection.execute(sa.update(database.outcomes).where(mine).values(value="true"))
    assert rows()["old"] == (False, "is_late", "false")
    assert rows()["new"] == (True, "is_late", "true")


def test_outcomes_recorded_before_they_had_names_keep_their_values(tmp_path: Path) -> None:
    """The migration fills in the name and the value, and its way back takes them away."""
    from alembic import command
    from alembic.config import Config

    engine = database.connect(f"sqlite:///{tmp_path}/old.sqlite")
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))

    def move(to: str) -> None:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if to == "0005" else command.upgrade)(config, to)

    move("head")
    move("0005")
    with engine.begin() as connection:
        for own, is_late in (("a", "true"), ("b", "false")):
            connection.exec_driver_sql(
                f"INSERT INTO outcomes (prediction_id, is_late, time) VALUES ('{own}', {is_late}, 't')"
            )
    move("head")
    with engine.connect() as connection:
        found = list(connection.execute(sa.select(database.outcomes.c.name, database.outcomes.c.value)))
    assert found == [("is_late", "true"), ("is_late", "false")]


def test_a_log_in_memory_changes_the_rights_of_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is empty, which as a path is the working directory."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    with database.connect("sqlite://").connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
