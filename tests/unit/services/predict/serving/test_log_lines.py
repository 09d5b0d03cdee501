"""A line of columns has the rows that a line of JSON has, to the bit, and whoever reads lines takes either."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from flask.testing import FlaskClient

from modelbundle.explain.answers import Answers
from modelbundle.explain.reasons import ReasonColumns
from modelbundle.scorers.base import AnyColumn, Coded
from modelbundle.validation.validator import Many
from services.predict.api.arrow.predict import MEDIA_TYPE
from services.predict.app import Application
from services.predict.serving import log_lines
from services.predict.settings import Settings
from services.predictionlog import database, erasure, record, shipper, spool
from services.predictionlog.__main__ import main
from tests.conftest import LOAN, Made
from tests.unit.services.predict.api.arrow.test_predict import encode
from tests.unit.services.predict.serving.test_shares import share

ODD = ["", "a", 'q"\\{}%s', "\u2028\n\r\t\x00", "é\U0001f600", "x" * 300, ",", "[]"]
NUMBERS = [0.0, -0.0, 5e-324, 1.7e308, 0.1 + 0.2, 1e-7, 1e16, 123456789.0, float("nan"), -1 / 3]
Odd = tuple[Any, Many, Answers]


def odd(seed: int, rows: int) -> Odd:
    """What a worker has of a request whose values and texts are as odd as can be: its model, the values, and the answers."""
    rng = np.random.default_rng(seed)

    def texts(missing: bool) -> list[Any]:
        return [None if missing and rng.random() < 0.2 else ODD[k] for k in rng.integers(0, len(ODD), rows)]

    def numbers(*shape: int) -> Any:
        return np.where(rng.random(shape) < 0.5, rng.choice(NUMBERS, shape), rng.normal(size=shape))

    distinct = [f"value {k}" for k in range(int(rng.choice([2, 300, 70_000])))]
    columns: list[AnyColumn] = [
        numbers(rows),
        texts(missing=True),
        Coded(rng.integers(0, len(distinct), rows), [*distinct[:-1], None]),
        Coded(rng.integers(0, 3, rows), numbers(3)),
        np.full(rows, np.nan),
    ]
    classes = int(rng.integers(2, 5))
    words = SimpleNamespace(features=ODD * 100, texts=[f"{k} {text}" for k, text in enumerate(ODD * 100)])
    risky = np.flatnonzero(rng.random(rows) < 0.6)
    said = np.where(
        np.arange(4) < rng.integers(0, 5, len(risky))[:, np.newaxis], rng.integers(0, 800, (len(risky), 4)), -1
    )
    with_bands, with_reasons, with_ids, with_warnings = rng.random(4) < 0.7
    answers = Answers(
        [0, 1],
        ODD,
        (),
        "a" * 64,
        -3.8,
        np.zeros(rows, dtype=np.intp),
        np.nan_to_num(np.abs(numbers(rows, classes))),
        rng.integers(0, len(ODD), rows) if with_bands else None,
        ReasonColumns(cast(Any, words), rows, risky, said, numbers(*said.shape)) if with_reasons else None,
        None,
        False,
        [f"p{i}" for i in range(rows)],
        texts(missing=True) if with_ids else None,
        {int(i): [{"pointer": f"/{i}", "detail": ODD[i % 8]}] for i in rng.integers(0, rows, 3)}
        if with_warnings
        else {},
    )
    names = ("amount", ODD[2], ODD[3], ODD[4], ",")
    serving = SimpleNamespace(
        model=SimpleNamespace(schema=SimpleNamespace(names=names)), generation=SimpleNamespace(number=7)
    )
    return serving, Many(rows, columns), answers


def lines(made: Odd, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """Both lines, of the same moment."""
    serving, asked, answers = made
    monkeypatch.setattr(log_lines.time, "time", lambda: 1_795_000_000.25)
    environ = {"request.id": "r", "request.key": ODD[4]}
    columns = log_lines.batch(environ, serving, asked, answers)
    return log_lines.line(environ, serving, asked, msgspec.json.encode(answers.objects)), columns


@pytest.mark.parametrize("rows", [1, 9, 500])
@pytest.mark.parametrize("seed", range(20))
def test_both_formats_give_the_same_rows(seed: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the values: missing, signed zeros, any text; with and without ids, bands, reasons and warnings."""
    line, columns = lines(odd(seed, rows), monkeypatch)
    assert columns.count(b"\n") == 1
    expected, found = list(record.decode(line).rows()), list(record.decode(columns).rows())
    assert found == expected
    assert (
        np.array([r["probability"] for r in found]).tobytes()
        == np.array([r["probability"] for r in expected]).tobytes()
    )
    assert record.decode(columns).ids() == record.decode(line).ids()
    assert list(record.inputs(columns)) == list(record.inputs(line))
    assert list(record.decode(record.as_line(columns)).rows()) == expected


def damaged(content: bytes) -> list[bytes]:
    """The line of columns in forms that do not fit: each has one part changed."""
    found = []
    for place, name, value in [
        (5, "amount", {"numbers": "AAAA"}),
        (5, "amount", {"numbers": "AAAAAAAAAAA="}),
        (5, "amount", {"numbers": "?"}),
        (5, "amount", {}),
        (5, "amount", {"values": ["one"]}),
        (5, "amount", {"values": ["one"], "codes": "AQEBAQEBAQEB"}),
        (6, "prediction_ids", ["p0"]),
        (6, "prediction_ids", []),
        (6, "ids", ["a"]),
        (6, "probabilities", ""),
        (6, "probabilities", "AAAAAAAAAAA="),
        (6, "bands", "CQkJCQkJCQkJ"),
        (6, "bands", "AAA="),
        (6, "reasons", {"features": [], "texts": [], "counts": "AQEBAQEBAQEB", "said": "", "contributions": ""}),
        (6, "reasons", {"features": ["a"], "texts": [], "counts": "AAAAAAAAAAAA", "said": "", "contributions": ""}),
        (6, "warnings", {"9": []}),
        (6, "warnings", {"-10": []}),
    ]:
        parts = json.loads(content)
        parts[place][name] = value
        found.append(json.dumps(parts, separators=(",", ":")).encode() + b"\n")
    return [*found, content[:-20] + b"\n", content.replace(b"[3,", b"[4,", 1)]


def test_columns_that_do_not_fit_each_other_are_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """None of their rows is in the log, and no other line is kept out. Each reader says that it cannot read them."""
    _, good = lines(odd(3, 9), monkeypatch)
    assert list(record.decode(good).rows())
    wrong = damaged(good)
    for one in wrong:
        with pytest.raises(msgspec.MsgspecError):
            list(record.decode(one).rows())
    worker = shipper.Shipper(tmp_path / "spool", f"sqlite:///{tmp_path}/log.sqlite")
    writer = spool.Writer(worker.root, 1 << 30)
    writer.append(*wrong, good)
    writer.close()
    assert worker.round()
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["lines"] == len(wrong)
    with worker.engine.connect() as connection:
        assert len(connection.execute(database.predictions.select()).all()) == 9
    (path,) = spool.named(worker.root, shipper.DAMAGED)
    assert list(spool.lines(path)) == wrong
    path.write_bytes(spool.checksum(good) + good + wrong[0])
    assert main(["lines", str(path)]) == 1
    first, second = capfd.readouterr().out.encode().splitlines(keepends=True)
    assert second == wrong[0]
    assert list(record.decode(first).rows()) == list(record.decode(good).rows())
    path.write_bytes(first)  # as a person has mended it
    assert main(["lines", str(path)]) == 0
    assert worker.replay(path) == 0
    assert not path.exists()


def test_a_row_is_erased_from_a_line_of_columns_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are a line of JSON then, whose checksum fits; one that was damaged stays known for that."""
    serving, asked, answers = odd(3, 9)
    answers = Answers(**{**vars(answers), "references": [f"own-{i % 4}" for i in range(9)]})
    line, columns = lines((serving, asked, answers), monkeypatch)
    path = tmp_path / "spool" / "writer" / f"1{shipper.DAMAGED}"
    path.parent.mkdir(parents=True)
    endless = columns.replace(b"1795000000.25", b"-1e300", 1)  # a time that is in no year
    path.write_bytes(spool.checksum(columns) + columns + b"00000000 " + columns + columns + endless)
    wanted = erasure.Erasure(database.RECORD, "own-2", "2999-01-01T00:00:00.000000+00:00")
    cleaned = erasure.clean(tmp_path / "spool", wanted)
    assert (cleaned.rows, cleaned.unreadable) == (8, 0)
    assert b"own-2" not in path.read_bytes()
    left = [row for row in record.decode(line).rows() if row["record_id"] != "own-2"]
    *raw, last = spool.raw_lines(path)
    assert last.startswith(b"[2,-1e+300,")
    assert [spool.apart(one)[0] for one in raw] == [spool.checksum(spool.apart(raw[0])[1]), b"00000000 ", b""]
    for one in raw:
        found = list(record.decode(spool.apart(one)[1]).rows())
        told = ("probabilities", "reasons")  # as this machine's Python writes numbers
        for row, expected in zip(found, left, strict=True):
            assert [json.loads(row.pop(name)) for name in told] == [json.loads(expected[name]) for name in told]
        assert found == [{k: v for k, v in row.items() if k not in told} for row in left]


def asked(client: FlaskClient, kind: str) -> None:
    """A request of 40 rows with odd values, under a key that makes its ids."""
    rows = [
        {
            **LOAN,
            "id": None if i % 3 else f"own-{i}-é",
            "amount": 900_000 if i % 5 == 0 else 1000 * i + 0.1,
            "emp_length": None,
        }
        for i in range(40)
    ]
    rows[7]["grade"] = "unheard of"
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    import pyarrow as pa

    text = "\n".join(
        [",".join(columns), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
    )
    content, body = {
        "records": ("application/json", json.dumps(rows)),
        "columns": ("application/json", json.dumps(columns)),
        "csv": ("text/csv", text),
        "arrow": (MEDIA_TYPE, encode(pa.table(columns))),
    }[kind]
    response = client.post("/predict", data=body, content_type=content, headers={"Idempotency-Key": kind})
    assert response.status_code == 200
    assert response.get_data()  # a table of CSV is scored while it is read


@pytest.mark.parametrize("percent", [0, 30])
@pytest.mark.parametrize("kind", ["records", "columns", "csv", "arrow"])
def test_a_request_is_logged_as_the_same_rows_in_either_format(
    application: Application,
    client: FlaskClient,
    settings: Settings,
    bundles: list[Made],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    percent: int,
) -> None:
    """However it came, and where a challenger answers a share of it."""
    if percent:
        share(application, bundles[1], percent)
    found = []
    for few in (1000, 0):
        monkeypatch.setattr(log_lines, "FEW", few)
        application.prediction_log.open()
        asked(client, kind)
        application.prediction_log.close()
        content = []
        for path in sorted(path for path in settings.data_dir.glob("spool/**/*") if path.is_file()):
            content += list(spool.lines(path))
            path.unlink()
        assert {line[:3] for line in content} == {b"[2," if few else b"[3,"}
        own = {"time", "request_id"}
        found.append(
            [{k: v for k, v in row.items() if k not in own} for line in content for row in record.decode(line).rows()]
        )
    assert len(found[0]) == 40
    assert found[0] == found[1]
    assert len({row["model_version"] for row in found[0]}) == (2 if percent else 1)
