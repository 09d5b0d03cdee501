"""Events and outcomes: what is changed, removed or added by hand is named; corrections, letters and erasures are accepted."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.predictionlog import audit, database, erasure, event, outcomes, spool
from services.predictionlog.__main__ import main
from services.predictionlog.chain import head as head_file
from services.predictionlog.chain.batch import SALT
from services.predictionlog.chain.writer import Chain
from services.predictionlog.outcome import CONTRADICTED, RECORDED, REPEATED, Claim
from services.predictionlog.shipper import Shipper
from services.web import json_logging
from tests.unit.services.predictionlog import test_chain
from tests.unit.services.predictionlog.test_chain import accepted, at, execute, fill, found, named
from tests.unit.services.predictionlog.test_erasure import Place, line

place = test_chain.place


def happened(place: Place, number: int, kind: str = event.LOOKUP, when: float | None = None, **detail: Any) -> str:
    """Append an event to the spool; returns its id."""
    own = event.identity(kind, number)
    place.writer.append(event.encode(own, kind, when or at(number), {"by": f"key-{number}", **detail}), whatever=True)
    return own


def report(place: Place, *own: str, value: bool = True) -> list[str]:
    """Outcomes of predictions, as one request; returns what came of each."""
    claims = [Claim(one, None, None, value) for one in own]
    return [result.status for result in outcomes.record(database.connect(place.url), claims, "desk")]


def correct(place: Place, own: str, value: bool) -> None:
    audit.correct(database.connect(place.url), own, value, "ann")


def batches(place: Place, kind: str) -> list[Any]:
    query = sa.select(database.chain).where(database.chain.c.kind == kind)
    with database.connect(place.url).connect() as connection:
        return list(connection.execute(query.order_by(database.chain.c.spool, database.chain.c.number)))


def looked_up(place: Place) -> list[str]:
    """Four predictions' segments, of which two have events."""
    ids = [happened(place, 1), happened(place, 2)]
    fill(place)
    ids += [happened(place, 3, event.DEPLOYMENT, why="a new model")]
    place.ship()
    return ids


def move(place: Place, to: str) -> None:
    """Migrate to a version, forwards or back."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    with database.connect(place.url).begin() as connection:
        config.attributes["connection"] = connection
        before = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        (command.downgrade if to < before else command.upgrade)(config, to)


@pytest.mark.attack("altered log")
@pytest.mark.parametrize("change", ["detail = '{}'", "kind = 'switch'", "time = '2020-01-01'"])
def test_a_changed_event_is_named(place: Place, capsys: Any, change: str) -> None:
    """Of the spool and of a command, whatever column it is, and no other event."""
    _, own, _ = looked_up(place)
    with database.connect(place.url).begin() as connection:
        audit.note(connection, event.EXPORT, {"rows": 3}, "of-a-command")
    assert "8 events, 0 from before the chains\n" in accepted(capsys)
    execute(place, f"UPDATE events SET {change} WHERE event_id IN (:own, 'of-a-command')", own=own)
    direct, spooled = sorted(found(capsys), key=len)
    assert direct.startswith("changed: the event of-a-command (row 1 of batch 5 of the chain direct)")
    assert spooled.startswith(f"changed: the event {own} (row 2 of batch 2 of the chain ")


@pytest.mark.attack("altered log")
def test_a_removed_and_an_added_event_are_named(place: Place, capsys: Any) -> None:
    """Also one that has no id, as none has been written since the third migration."""
    own, *_ = looked_up(place)
    execute(place, "DELETE FROM events WHERE event_id = :own", own=own)
    added = "INSERT INTO events (event_id, time, kind, detail) VALUES"
    execute(place, f"{added} ('forged', '2999', 'lookup', '{{}}'), (NULL, '2999', 'lookup', '{{}}')")
    removed, *others = found(capsys)
    assert removed.startswith(f"removed: the event {own} (row 1 of batch ")
    assert others[0] == "added: the event forged, which no batch lists"
    assert others[1].startswith("added: the event with the number ")
    assert others[1].endswith(", which has no id, which no batch lists")
    assert len(others) == 2


def test_an_event_with_another_id_is_named_twice(place: Place, capsys: Any) -> None:
    own, *_ = looked_up(place)
    execute(place, "UPDATE events SET event_id = 'x' WHERE event_id = :own", own=own)
    removed, added = found(capsys)
    assert removed.startswith(f"removed: the event {own} ")
    assert added == "added: the event x, which no batch lists"


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        '{"spool": "a\\u0000", "number": 1, "hash": ""}',
        '{"spool": "log", "number": 99999999999999999999, "hash": ""}',
    ],
)
def test_an_event_that_says_a_head_and_is_changed_into_none(place: Place, capsys: Any, said: str) -> None:
    """It is named, and what it said is not looked for."""
    looked_up(place)
    execute(place, "UPDATE events SET detail = '{' WHERE kind = 'chain'")
    assert {text.split(" the event ")[0] for text in found(capsys)} == {"changed:"}
    execute(place, "UPDATE events SET detail = :said WHERE kind = 'chain'", said=said)
    assert {text.split(" the event ")[0] for text in found(capsys)} == {"changed:"}


def test_an_event_that_comes_twice_is_chained_once(place: Place, capsys: Any) -> None:
    """In one segment, and in another one: the first stays."""
    happened(place, 1)
    own = happened(place, 1, more=1)
    place.ship()
    happened(place, 1, more=2)
    happened(place, 2)
    place.ship()
    assert "2 events" in accepted(capsys)
    listed = [one for batch in batches(place, "events") for one in json.loads(batch.ids)]
    assert sorted(listed) == sorted([own, event.identity(event.LOOKUP, 2)])


def test_outcomes_are_chained_as_they_are_recorded(place: Place, capsys: Any) -> None:
    """One request is one batch; a repeated or contradicted outcome adds nothing."""
    fill(place)
    assert report(place, named(), named("own-1-1", 1)) == [RECORDED, RECORDED]
    assert report(place, named(), named("own-1-2", 1), value=False) == [CONTRADICTED, RECORDED]
    assert report(place, named()) == [REPEATED]
    assert "3 outcomes, 0 erased, 0 corrected, 0 from before the chains\n" in accepted(capsys)
    assert [batch.rows for batch in batches(place, "outcomes")] == [2, 1]


@pytest.mark.attack("altered log")
@pytest.mark.parametrize(
    "change", ["value = 'false'", "is_late = false", "name = 'x'", "time = '2020'", "key_name = NULL"]
)
def test_a_changed_outcome_is_named(place: Place, capsys: Any, change: str) -> None:
    """Also by the column of older versions, which a trigger makes a change of the value."""
    fill(place)
    report(place, named(), named("own-1-1", 1))
    execute(place, f"UPDATE outcomes SET {change} WHERE prediction_id = :own", own=named())
    (finding,) = found(capsys)
    assert finding.startswith(f"changed: the outcome of the prediction {named()} (row ")
    assert finding.endswith(" of the chain direct)")


@pytest.mark.attack("altered log")
def test_a_removed_and_an_added_outcome_are_named(place: Place, capsys: Any) -> None:
    fill(place)
    report(place, named(), named("own-1-1", 1))
    execute(place, "DELETE FROM outcomes WHERE prediction_id = :own", own=named())
    added = "INSERT INTO outcomes (prediction_id, name, value, time) VALUES (:own, 'is_late', 'true', '2999')"
    execute(place, added, own=named("own-1-2", 1))
    removed, forged = found(capsys)
    assert removed.startswith(f"removed: the outcome of the prediction {named()} ")
    assert forged == f"added: the outcome of the prediction {named('own-1-2', 1)}, which no batch lists"


def test_a_correction_is_accepted(place: Place, capsys: Any) -> None:
    """Again and again; the value that is there now is protected, and the earlier one has left the chain."""
    fill(place)
    report(place, named("own-1-1", 1), named())
    correct(place, named(), False)
    correct(place, named(), True)
    said = accepted(capsys)
    assert "2 outcomes, 0 erased, 2 corrected, 0 from before the chains\n" in said
    assert "6 events" in said
    first, second, third = batches(place, "outcomes")
    assert [json.loads(batch.ids) for batch in (first, second, third)] == [
        [named("own-1-1", 1), None],
        [None],
        [named()],
    ]
    assert first.salts[SALT:] == second.salts == bytes(SALT)
    execute(place, "UPDATE outcomes SET value = 'false' WHERE prediction_id = :own", own=named())
    (finding,) = found(capsys)
    assert finding.startswith(f"changed: the outcome of the prediction {named()} (row 1 of batch ")


@pytest.mark.attack("altered log")
def test_a_correction_does_not_hide_what_was_changed_or_added_by_hand(place: Place, capsys: Any) -> None:
    """Neither a value that somebody changed before, nor an outcome that nobody recorded."""
    fill(place)
    report(place, named())
    execute(place, "UPDATE outcomes SET value = 'false' WHERE prediction_id = :own", own=named())
    added = "INSERT INTO outcomes (prediction_id, name, value, time) VALUES (:own, 'is_late', 'true', '2999')"
    execute(place, added, own=named("own-1-2", 1))
    correct(place, named(), False)
    correct(place, named("own-1-2", 1), False)
    changed, forged = found(capsys)
    assert changed.startswith(f"changed: the outcome of the prediction {named()} (row ")
    assert forged == f"added: the outcome of the prediction {named('own-1-2', 1)}, which no batch lists"


@pytest.mark.attack("altered log")
def test_an_outcome_that_is_removed_and_made_to_look_corrected_is_found(place: Place, capsys: Any) -> None:
    fill(place)
    report(place, named())
    execute(place, "DELETE FROM outcomes WHERE prediction_id = :own", own=named())
    execute(place, "UPDATE chain SET ids = '[null]', salts = :none WHERE kind = 'outcomes'", none=bytes(SALT))
    (finding,) = found(capsys)
    assert finding.startswith("changed: row 1 of batch ")


@pytest.mark.parametrize("by", ["record", "before"])
def test_an_erasure_takes_the_outcomes_with_it(place: Place, capsys: Any, by: str) -> None:
    """Recorded, and corrected: nothing of them is left in the chain but digests. Other outcomes stay protected."""
    fill(place)
    report(place, named("own-1-1", 1), named())
    report(place, named("own-1-2", 1))
    correct(place, named(), False)
    assert place.erase(*(("--record-id", "own-2-3") if by == "record" else ("--before", "2999-01-01"))) == 0
    left = 2 if by == "record" else 0
    assert f"{left} outcomes, {3 - left} erased, 1 corrected, 0 from before the chains\n" in accepted(capsys)
    for batch in batches(place, "outcomes"):
        assert named() not in batch.ids
    if left:
        execute(place, "UPDATE outcomes SET value = 'false' WHERE prediction_id = :own", own=named("own-1-1", 1))
        (finding,) = found(capsys)
        assert named("own-1-1", 1) in finding


def test_letters_and_erasures_are_events_of_the_chain(place: Place, capsys: Any) -> None:
    """Their removal is found."""
    fill(place)
    with database.connect(place.url).begin() as connection:
        audit.note_letter(connection, named(), ["amount"], "ann")
    assert place.erase("--record-id", "own-1-1") == 0
    accepted(capsys)
    execute(place, "DELETE FROM events WHERE kind IN ('notice', 'erasure')")
    assert [text.split(" of the chain ")[1] for text in found(capsys)] == ["direct)", "direct)"]


def test_what_was_there_before_the_migration_is_counted_by_table(place: Place, capsys: Any) -> None:
    """Its correction and its erasure are accepted; its removal and an addition of that time are not."""
    ids = looked_up(place)
    report(place, named(), named("own-1-1", 1), named("own-1-2", 1))
    move(place, "0009")
    assert main(["verify"]) == 1
    assert "of an earlier version" in capsys.readouterr().err
    report(place, named("own-0-0", 0))
    with database.connect(place.url).begin() as connection:
        audit.note(connection, event.EXPORT, {"rows": 3})
    database.migrate(database.connect(place.url))
    said = accepted(capsys)
    assert "20 predictions in" in said
    assert "0 events, 8 from before the chains\n" in said
    assert "0 outcomes, 3 erased, 0 corrected, 4 from before the chains\n" in said
    correct(place, named(), False)
    assert place.erase("--record-id", "own-1-1") == 0
    said = accepted(capsys)
    assert "1 outcomes, 3 erased, 1 corrected, 2 from before the chains\n" in said
    assert "2 events, 8 from before the chains\n" in said
    execute(place, "DELETE FROM events WHERE event_id = :own", own=ids[0])
    added = "INSERT INTO outcomes (prediction_id, name, value, time) VALUES (:own, 'is_late', 'true', '2000')"
    execute(place, added, own=named("own-2-1"))
    assert found(capsys) == [
        "changed: 7 events from before the chains began are there, and 8 should be",
        "changed: 3 outcomes from before the chains began are there, and 2 should be",
    ]


def test_the_way_back_keeps_the_chains_of_the_predictions(place: Place, capsys: Any) -> None:
    """Their batches have their rows and their numbers; those of events and outcomes are tombstones of an erasure."""
    looked_up(place)
    report(place, named())
    before = batches(place, "rows")
    move(place, "0009")
    assert batches(place, "rows") == before
    for kind in ("events", "outcomes"):
        for batch in batches(place, kind):
            assert json.loads(batch.ids) == [None] * batch.rows
            assert batch.salts == bytes(SALT * batch.rows)
    (note,) = batches(place, "erased")
    told = {(name, number): places for name, number, places in json.loads(note.ids)["erased"]}
    others = [*batches(place, "events"), *batches(place, "outcomes")]
    assert told == {(batch.spool, batch.number): list(range(batch.rows)) for batch in others}


@pytest.mark.attack("altered log")
def test_the_removed_end_of_the_chain_of_commands_is_found(place: Place, capsys: Any, monkeypatch: Any) -> None:
    """An outcome with its batch, or an event: the shipper's file has the heads, also where only outcomes come."""
    fill(place)
    report(place, named())
    Chain(place.spool).look(database.connect(place.url))
    heads = {head["spool"] for head in head_file.heads(head_file.published(place.spool))}
    assert {"log", "direct"} < heads
    accepted(capsys)
    execute(place, "DELETE FROM outcomes")
    execute(place, "DELETE FROM chain WHERE kind = 'outcomes'")
    (finding,) = found(capsys)
    assert finding.startswith("changed: batch ")
    assert " of the chain direct is not there with the hash that was published" in finding
    said: list[str] = []
    monkeypatch.setattr(json_logging, "emit", lambda what, *_, **facts: said.append(f"{what}: {facts['spool']}"))
    Chain(place.spool).look(database.connect(place.url))
    assert said[0] == "chain head gone: direct"


def test_a_head_file_of_the_version_before_is_read(place: Place, capsys: Any) -> None:
    """It has no heads of others; and one that somebody damaged says nothing."""
    fill(place)
    path = place.spool / head_file.FILE
    facts = json.loads(path.read_bytes())
    del facts["others"]
    path.write_bytes(json.dumps(facts).encode())
    accepted(capsys)
    Chain(place.spool).look(database.connect(place.url))
    assert len(json.loads(path.read_bytes())["others"]) == 2
    path.write_bytes(json.dumps({**facts, "number": "x", "others": [1, {"spool": 1}]}).encode())
    accepted(capsys)
    Chain(place.spool).look(database.connect(place.url))
    assert json.loads(path.read_bytes())["number"] == "x"


def test_an_erasure_waits_for_an_outcome_that_is_being_recorded(place: Place, capsys: Any) -> None:
    """It erases both then, and the chain says so."""
    place.append(line("own", at=at(1)))
    place.ship()
    engine = database.connect(place.url)
    wanted = erasure.Erasure(database.RECORD, "own", "2999-01-01T00:00:00.000000+00:00")
    eraser = threading.Thread(target=lambda: erasure.erase(engine, wanted, "ann"))
    recorded = outcomes.insert

    def slowly(connection: sa.Connection, *rest: Any) -> Any:
        done = recorded(connection, *rest)
        eraser.start()
        eraser.join(0.5)
        assert eraser.is_alive()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "insert", slowly)
        assert report(place, named("own", 1)) == [RECORDED]
    eraser.join(30)
    assert not eraser.is_alive()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(database.outcomes)) == 0
    assert "0 outcomes, 1 erased, 0 corrected" in accepted(capsys)


def test_outcomes_and_corrections_at_once(place: Place, capsys: Any) -> None:
    """Of several requests, in any order: each row has one place."""
    fill(place)
    ids = [named(f"own-{number}-{i}", number) for number in range(4) for i in range(5)]
    trouble: list[Exception] = []

    def work(part: int) -> None:
        try:
            report(place, *ids[part : part + 12])
            for own in ids[part : part + 3]:
                correct(place, own, part % 2 == 0)
        except Exception as error:
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(0, 8, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert trouble == []
    assert "18 outcomes, 0 erased, 12 corrected" in accepted(capsys)
    listed = [own for batch in batches(place, "outcomes") for own in json.loads(batch.ids) if own]
    assert sorted(listed) == sorted(ids[:18])


def test_two_spools_say_the_same_event(place: Place, url: str, tmp_path: Path, capsys: Any) -> None:
    """Two replicas that share a database: it is in one chain."""
    other = spool.Writer(tmp_path / "data" / "other", 1 << 20)
    own = happened(place, 1)
    place.ship()
    other.append(event.encode(own, event.LOOKUP, at(1), {}), whatever=True)
    other.turn()
    assert Shipper(tmp_path / "data" / "other", url).round()
    other.close()
    assert "1 events" in accepted(capsys)
