"""A row that is changed, removed, added or reordered by hand is found and named; what the service itself does is accepted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.predictionlog import database, record, spool
from services.predictionlog.__main__ import main
from services.predictionlog.chain import batch as batches_of
from services.predictionlog.chain import head as head_file
from services.predictionlog.chain.batch import hashed
from services.predictionlog.shipper import Shipper
from tests.unit.services.predictionlog.test_erasure import Place, line


@pytest.fixture
def place(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PREDICTION_LOG_URL", url)
    database.migrate(database.connect(url))
    own = Place(tmp_path, url)
    clock["start"] = time.time() + 0.001
    yield own
    own.writer.close()


clock = {"start": 0.0}


def at(number: int) -> float:
    """Later than the migration, and before what a test does next."""
    return round(clock["start"] + number / 1000, 3)


def named(own: str = "own-2-3", number: int = 2) -> str:
    """The id that :func:`line` gives a prediction."""
    return f"{own}-None-{at(number)}"


def fill(place: Place) -> None:
    for number in range(4):
        place.append(line(*(f"own-{number}-{i}" for i in range(5)), at=at(number)))
        place.ship()


def execute(place: Place, statement: str, **values: Any) -> None:
    with database.connect(place.url).begin() as connection:
        assert connection.execute(sa.text(statement), values).rowcount > 0


def batches(place: Place) -> list[Any]:
    query = sa.select(database.chain).where(database.chain.c.kind == "rows").order_by(database.chain.c.number)
    with database.connect(place.url).connect() as connection:
        return list(connection.execute(query))


def found(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The findings of a run that finds some."""
    capsys.readouterr()
    assert main(["verify"]) == 1
    return [
        text
        for text in capsys.readouterr().out.splitlines()
        if text.startswith(("changed", "removed", "added", "reordered"))
    ]


def accepted(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["verify"]) == 0, capsys.readouterr()
    return capsys.readouterr().out


@pytest.mark.attack("altered log")
@pytest.mark.parametrize(
    "change",
    ["probability = 0.100001", "band = 'low'", "input = '{}'", "record_id = 'x'", "time = '2090-01-01'", "generation = 2",
     "key_name = ''", "request_id = 's'", "model_version = 'b'", "reasons = '[1]'", "warnings = '[1]'", "probabilities = '[]'"],
)  # fmt: skip
def test_a_changed_row_is_named(place: Place, capsys: Any, change: str) -> None:
    """Whatever column it is, and no other row."""
    fill(place)
    assert "20 predictions" in accepted(capsys)
    execute(place, f"UPDATE predictions SET {change} WHERE prediction_id = :own", own=named())
    (finding,) = found(capsys)
    assert finding.startswith(f"changed: the prediction {named()} (row 4 of batch 3 of the chain ")


@pytest.mark.attack("altered log")
def test_a_removed_and_an_added_row_are_named(place: Place, capsys: Any) -> None:
    fill(place)
    execute(place, "DELETE FROM predictions WHERE prediction_id = :own", own=named())
    columns = "time, model_version, generation, request_id, probability, probabilities, input, reasons, warnings"
    copied = f"INSERT INTO predictions (prediction_id, {columns}) SELECT 'forged', {columns} FROM predictions LIMIT 1"
    execute(place, copied)
    removed, added = found(capsys)
    assert removed.startswith(f"removed: the prediction {named()} ")
    assert added == "added: the prediction forged, which no batch lists"


def test_an_added_row_of_old_times_is_counted(place: Place, capsys: Any) -> None:
    """It cannot be told from those that were there before the chains, but they are one too many."""
    fill(place)
    columns = "model_version, generation, request_id, probability, probabilities, input, reasons, warnings"
    copied = (
        f"INSERT INTO predictions (prediction_id, time, {columns}) SELECT 'forged', '2000', {columns} FROM predictions"
    )
    execute(place, f"{copied} LIMIT 1")
    assert found(capsys) == ["changed: 1 predictions from before the chains began are there, and 0 should be"]


@pytest.mark.attack("altered log")
def test_renamed_and_reordered_rows(place: Place, capsys: Any) -> None:
    """Two rows that take each other's ids, and a batch whose list has another order."""
    fill(place)
    other = named().replace("own-2-3", "own-2-1")
    for one, two in ((named(), "x"), (other, named()), ("x", other)):
        execute(place, "UPDATE predictions SET prediction_id = :two WHERE prediction_id = :one", one=one, two=two)
    assert [text.split(" (")[0] for text in found(capsys)] == [
        f"changed: the prediction {own}" for own in (other, named())
    ]
    for one, two in ((named(), "x"), (other, named()), ("x", other)):
        execute(place, "UPDATE predictions SET prediction_id = :two WHERE prediction_id = :one", one=one, two=two)
    accepted(capsys)
    batch = batches(place)[2]
    ids = json.loads(batch.ids)
    ids[1], ids[3] = ids[3], ids[1]
    execute(
        place, "UPDATE chain SET ids = :ids WHERE spool = :spool AND number = 3", ids=json.dumps(ids), spool=batch.spool
    )
    assert {text.split(":")[0] for text in found(capsys)} <= {"changed", "reordered"}


@pytest.mark.attack("altered log")
@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_removed_batch_is_found(place: Place, capsys: Any, number: int) -> None:
    """With its rows; the last one too, because its head was published."""
    fill(place)
    spool_id = batches(place)[0].spool
    execute(place, "DELETE FROM predictions WHERE prediction_id LIKE :own", own=f"own-{number - 1}-%")
    execute(place, "DELETE FROM chain WHERE spool = :spool AND number = :number", spool=spool_id, number=number)
    findings = found(capsys)
    if number < 4:
        assert findings[0] == f"removed: batches {number} to {number} of the chain {spool_id}"
    else:
        assert "is not there with the hash that was published" in findings[0]


@pytest.mark.attack("altered log")
def test_a_batch_that_is_hashed_again_breaks_the_next_link(place: Place, capsys: Any) -> None:
    """Who rewrites one batch must rewrite all that follow, up to the head that others know."""
    fill(place)
    batch = dict(batches(place)[1]._mapping)
    batch["newest"] = "9999"
    execute(
        place, "UPDATE chain SET newest = '9999', hash = :hash WHERE number = 2 AND kind = 'rows'", hash=hashed(batch)
    )
    follows, published = found(capsys)
    assert follows == f"changed: batch 3 of the chain {batch['spool']} does not follow the one before it"
    assert published.startswith(f"changed: batch 2 of the chain {batch['spool']} is not there with the hash")


def test_an_erasure_is_accepted(place: Place, capsys: Any) -> None:
    """And leaves nothing of the row: its id and its salt are gone. The other rows of its batch stay protected."""
    fill(place)
    assert place.erase("--record-id", "own-2-3") == 0
    assert "19 predictions in" in accepted(capsys)
    assert "1 erased" in accepted(capsys)
    batch = batches(place)[2]
    assert (json.loads(batch.ids)[3], batch.salts[48:64]) == (None, bytes(16))
    assert all(batch.salts[16 * i : 16 * i + 16] != bytes(16) for i in (0, 1, 2, 4))
    with database.connect(place.url).connect() as connection:
        for row in connection.execute(sa.select(database.chain)):
            assert named() not in row.ids
    execute(place, "UPDATE predictions SET probability = 0.7 WHERE record_id = 'own-2-4'")
    (finding,) = found(capsys)
    assert "own-2-4" in finding
    assert place.erase("--before", "2999-01-01") == 0
    assert "0 predictions in 14 batches, 20 erased" in accepted(capsys)


def test_old_rows_are_erased_and_counted(place: Place, capsys: Any) -> None:
    """Rows of all ages: those from before the chains are known by their number."""
    database.insert(database.connect(place.url), [dict(batch) for batch in _old()])
    execute(place, "UPDATE chain SET ids = ids WHERE spool = 'log'")
    assert "3 predictions from before the chains began are there, and 0 should be" in found(capsys)[0]


def _old() -> list[dict[str, Any]]:
    return list(record.decode(line("old-1", "old-2", "old-3", at=1000.0)).rows())


def test_what_was_there_before_the_migration_is_counted(
    tmp_path: Path, url: str, monkeypatch: Any, capsys: Any
) -> None:
    """Not chained, and said so; an erasure of them is accepted, and their removal by hand is not."""
    from alembic import command
    from alembic.config import Config

    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PREDICTION_LOG_URL", url)
    engine = database.connect(url)
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
    database.insert(engine, _old())
    assert main(["verify"]) == 1
    assert "of an earlier version" in capsys.readouterr().err
    database.migrate(engine)
    own = Place(tmp_path, url)
    fill(own)
    assert "3 from before the chains: all as it was" in accepted(capsys)
    assert own.erase("--record-id", "old-2") == 0
    assert "2 from before the chains: all as it was" in accepted(capsys)
    execute(own, "DELETE FROM predictions WHERE record_id = 'old-3'")
    assert found(capsys) == ["changed: 1 predictions from before the chains began are there, and 2 should be"]
    own.writer.close()


@pytest.mark.attack("altered log")
def test_a_tombstone_without_an_erasure_is_found(place: Place, capsys: Any) -> None:
    """A row that is removed by hand, and made to look erased."""
    fill(place)
    batch = batches(place)[2]
    ids = json.loads(batch.ids)
    ids[3] = None
    execute(place, "DELETE FROM predictions WHERE prediction_id = :own", own=named())
    execute(
        place, "UPDATE chain SET ids = :ids WHERE spool = :spool AND number = 3", ids=json.dumps(ids), spool=batch.spool
    )
    (finding,) = found(capsys)
    assert finding.startswith("changed: row 4 of batch 3 of the chain ")


def test_two_spools_have_two_chains(place: Place, url: str, tmp_path: Path, capsys: Any) -> None:
    """Several hosts ship into one database, some rows twice: each row is in one batch."""
    other = spool.Writer(tmp_path / "data" / "other", 1 << 20)
    shared = line("both-1", "both-2", at=at(7))
    for number in range(3):
        place.append(line(f"a-{number}", at=at(number)))
        place.ship()
        other.append(line(f"b-{number}", at=at(number)), *([shared] if number == 1 else []))
        other.turn()
        assert Shipper(tmp_path / "data" / "other", url).round()
    place.append(shared, line("c", at=at(9)))
    place.ship()
    other.close()
    said = accepted(capsys)
    assert "9 predictions in" in said
    assert said.count("head of ") == 4
    assert len({batch.spool for batch in batches(place)}) == 2
    listed = [own for batch in batches(place) for own in json.loads(batch.ids)]
    assert len(listed) == len(set(listed)) == 9


def test_a_crash_between_rows_and_batch_leaves_neither(place: Place, monkeypatch: Any, capsys: Any) -> None:
    """They are one transaction; the segment is shipped again."""
    place.append(line("own", at=at(1)))

    def crash(*_: Any) -> None:
        raise sa.exc.OperationalError("x", None, RuntimeError())

    with monkeypatch.context() as patch:
        patch.setattr(batches_of, "append", crash)
        assert not Shipper(place.spool, place.url).round()
        assert place.ids() == set()
    place.ship()
    place.ship()
    assert place.ids() == {"own"}
    assert "1 predictions in 4 batches" in accepted(capsys)


def test_what_was_set_aside_and_replayed_is_a_batch_of_its_own(place: Place, capsys: Any) -> None:
    """A line that the database could not take comes later, into the same chain."""
    good, mended = line("good", at=at(1)), line("mended", at=at(1))
    place.append(good, mended.replace(b"[0.9,0.1]", b'[0.9,"x"]'))
    Shipper(place.spool, place.url).round()
    assert place.ids() == {"good"}
    (path,) = spool.named(place.spool, ".damaged")
    path.write_bytes(mended)
    assert main(["replay"]) == 0
    assert place.ids() == {"good", "mended"}
    accepted(capsys)
    assert [json.loads(batch.ids) for batch in batches(place)] == [
        [named("good", 1)],
        [named("mended", 1)],
    ]


def test_the_head_is_published(place: Place, capsys: Any) -> None:
    """In the file for /readyz with each batch; in the events at most once a minute, and at the end."""
    shipper = Shipper(place.spool, place.url)
    for number in range(3):
        place.append(line(f"own-{number}", at=at(number)))
        assert shipper.round()
    last = batches(place)[-1]
    head = head_file.published(place.spool)
    assert head is not None
    assert (head["spool"], head["number"], head["hash"]) == (last.spool, 3, last.hash)
    assert (place.spool / head_file.FILE).stat().st_mode & 0o777 == 0o600

    def said() -> list[int]:
        query = sa.select(database.events.c.detail).where(database.events.c.kind == "chain")
        with database.connect(place.url).connect() as connection:
            return sorted(json.loads(text)["number"] for text in connection.execute(query).scalars())

    assert said() == [1]
    shipper.close()
    assert said() == [1, 3]
    accepted(capsys)
