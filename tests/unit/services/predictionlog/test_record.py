"""A line of the spool: the rows of one request, which the database gets one by one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from modelbundle.format import bundle
from modelbundle.publishing.compiling.proof import frame_columns
from services.predict.app import Application
from services.predictionlog import audit, database, event, record, shipper, spool
from services.predictionlog.chain.writer import Chain
from tests.conftest import LOAN, Made
from tests.unit.services.logs import logged
from tests.unit.services.predict.api.test_predict import post

ANSWER = {
    "prediction": 0,
    "predict_proba": [0.7, 0.1, 0.2],
    "band": None,
    "baseline": -3.8,
    "reasons": [{"feature": "grade", "text": "a\n\u2028b", "contribution": 0.30000000000000004}],
    "contributions": {"amount": 1.0},
    "model_version": "a" * 64,
    "id": "mine",
    "warnings": [],
}


def line(ids: list[str], inputs: dict[str, list[Any]] | None = None, **changes: Any) -> bytes:
    """One request's line."""
    answers = [{**ANSWER, "prediction_id": own, **changes} for own in ids]
    inputs = inputs or {"amount": [1e4] * len(ids)}
    return logged(inputs, answers, key="ann")


def segment(folder: Path, content: bytes, name: str = "1") -> Path:
    """A closed segment of a spool."""
    path = folder / "writer" / f"{name}{spool.CLOSED}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def shipping(tmp_path: Path) -> shipper.Shipper:
    return shipper.Shipper(tmp_path / "spool", f"sqlite:///{tmp_path}/log.sqlite")


def shipped(worker: shipper.Shipper) -> list[str]:
    with worker.engine.connect() as connection:
        return list(connection.execute(sa.select(database.predictions.c.prediction_id)).scalars())


def test_a_line_becomes_the_rows_of_its_request() -> None:
    """Values keep their bits and their kind, what is missing is null, and what was answered stands there to the letter."""
    inputs = {"amount": [10000.0, float("nan"), 0.1 + 0.2], "grade": ["A\u2028", None, "\n"]}
    content = line(["p1", "p2", "p3"], inputs)
    assert content.count(b"\n") == 1
    rows = list(record.decode(content).rows())
    assert [row["prediction_id"] for row in rows] == ["p1", "p2", "p3"]
    assert rows[0]["input"] == '{"amount":10000.0,"grade":"A\u2028"}'
    assert rows[1]["input"] == '{"amount":null,"grade":null}'
    assert json.loads(rows[2]["input"]) == {"amount": 0.1 + 0.2, "grade": "\n"}
    assert json.loads(rows[1]["reasons"]) == ANSWER["reasons"]
    assert (rows[0]["probability"], rows[0]["probabilities"]) == (0.2, "[0.7,0.1,0.2]")
    facts = ("record_id", "band", "warnings", "generation", "request_id", "key_name", "model_version")
    assert [rows[2][name] for name in facts] == ["mine", None, "[]", 3, "request", "ann", "a" * 64]


@pytest.mark.parametrize(
    "damage",
    [
        line(["p"], {"amount": [1.0, 2.0]}),
        line(["p"], {"amount": []}),
        line(["p"], {}).replace(b'{"amount":[10000.0]}', b"{}"),
        line(["p"]).replace(b"[2,", b"[1,", 1),
        line(["p"], predict_proba=None),
        line(["p"]).replace(b'"mine"', b'"\xff"'),
        line(["p"])[:-9] + b"\n",
    ],
)
def test_a_line_that_cannot_be_read_is_set_aside_and_keeps_no_other_out(
    shipping: shipper.Shipper, damage: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor is it ever dropped: the file stays for a person to look at. So does a line of a format that is not this one."""
    path = segment(shipping.root, line(["before"]) + damage + line(["after"]) + line(["torn"])[:-1])
    assert shipping.round()
    assert sorted(shipped(shipping)) == ["after", "before"]
    assert not path.exists()
    assert path.with_suffix(shipper.DAMAGED).exists()
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["lines"] == 1


def test_a_request_of_any_size_is_shipped_in_pieces(shipping: shipper.Shipper, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction has more than so many rows, wherever the lines end; each row goes in once, and all are handed over."""
    sizes: list[int] = []
    offered: list[int] = []

    def insert(engine: sa.Engine, rows: list[dict[str, Any]]) -> None:
        sizes.append(len(rows))
        taken(engine, rows)

    taken = database.insert
    monkeypatch.setattr(shipper, "BATCH", 4)
    monkeypatch.setattr(Chain, "insert", lambda _, engine, rows: insert(engine, rows))
    monkeypatch.setattr(shipping.queue, "offer", lambda _, rows: bool(offered.append(rows)))
    ids = [f"p{i}" for i in range(11)]
    segment(shipping.root, line(ids[:9]) + event.encode("e", event.SWITCH, 0.0, {}) + line(ids[9:10]) + line(ids[10:]))
    assert shipping.round()
    assert (sizes, offered) == ([4, 4, 3], [11])
    assert sorted(shipped(shipping)) == sorted(ids)
    assert spool.size(shipping.root) == 0


def test_the_shipper_holds_no_more_of_a_segment_than_it_inserts(
    shipping: shipper.Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much waits: a line is read when its rows are next."""
    read: list[bytes] = []
    seen: list[tuple[int, int]] = []
    decode = record.decode
    monkeypatch.setattr(record, "decode", lambda content: read.append(content) or decode(content))
    monkeypatch.setattr(Chain, "insert", lambda _, __, rows: seen.append((len(rows), len(read))))
    monkeypatch.setattr(shipper, "BATCH", 4)
    segment(shipping.root, b"".join(line([f"{i}-1", f"{i}-2"]) for i in range(6)))
    assert shipping.round()
    assert seen == [(4, 2), (4, 4), (4, 6)]


def test_what_was_logged_is_what_was_sent_whatever_the_shape(
    application: Application, client: FlaskClient, shipping: shipper.Shipper, bundles: list[Made]
) -> None:
    """One, many, with contributions, as CSV, and in another protocol: each row is there, and the audit reproduces it."""
    log = application.prediction_log
    log.root = shipping.root
    assert log._begin()
    loans = [LOAN, {**LOAN, "amount": 1}, {**LOAN, "grade": "unheard of", "id": "mine"}]
    sent = [post(client, LOAN).json, *post(client, loans, "?contributions=all").json["predictions"]]
    sent += client.post("/invocations", json={"dataframe_records": loans}).json["predictions"]
    table = "amount,int_rate,grade,purpose,emp_length\n1000,0.1,A,car,\n2000,0.2,B,car,\n"
    assert client.post("/predict", data=table, content_type="text/csv").text.count("\n") == 3
    log.close()
    assert shipping.round()
    assert len(shipped(shipping)) == len(sent) + 2
    stories = {story["prediction_id"]: story for own in shipped(shipping) for story in audit.find(shipping.engine, own)}
    assert all(audit.reproduce(story, bundles[0].path)["reproduced"] for story in stories.values())
    for answer in sent:
        story = stories[answer["prediction_id"]]
        assert (story["probabilities"], story["record_id"]) == (answer["predict_proba"], answer["id"])
        for name in ("band", "reasons", "warnings", "model_version"):
            assert story[name] == answer[name]


def test_the_shipper_rests_between_transactions_unless_rows_wait_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times as long as one took, with reading its rows. Not before the first; and what is late is not held up."""
    clock, now = iter(range(100)), 1_000_000
    monkeypatch.setattr(shipper.time, "time", lambda: float(now))
    monkeypatch.setattr(shipper.time, "monotonic", lambda: float(next(clock)))
    rested: list[float] = []
    monkeypatch.setattr(Chain, "insert", lambda _, engine, rows: database.insert(engine, rows))  # it looks at the clock
    own = shipper.Shipper(tmp_path / "spool", f"sqlite:///{tmp_path}/log.sqlite", rested.append)
    database.migrate(own.engine)
    for late in (False, True):
        for name in "abc":
            path = segment(tmp_path / "spool", line([name]), name)
            os.utime(path, (0, 0) if late else (now, now))
        assert own.round()
    assert rested == [0.0, 8.0, 8.0]


def test_inputs_are_those_of_the_rows(bundles: list[Made]) -> None:
    """The short way gives what the whole rows have."""
    model = bundle.read(bundles[0].path)
    frame = bundles[0].frame.head(3)
    columns = frame_columns(model.schema, frame[list(model.schema.names)])
    plain = [c if isinstance(c, list) else [None if v != v else v for v in c.tolist()] for c in columns]
    answers = model.answers(columns, prediction_ids=["a", "b", "c"])
    line = logged(dict(zip(model.schema.names, plain, strict=True)), answers)
    rows = [(row["prediction_id"], row["input"]) for row in record.decode(line).rows()]
    assert list(record.inputs(line)) == rows
    with pytest.raises(msgspec.MsgspecError):
        list(record.inputs(b"[2, 1.0]"))
