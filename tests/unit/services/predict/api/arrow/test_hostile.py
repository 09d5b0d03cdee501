"""Streams that are cut, that lie, and that are made to take memory: a problem each, and no more memory than a body's worth."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from flask.testing import FlaskClient

from services.predict.api.arrow import scan
from services.web.problem import Refused
from tests.unit.services.predict.api.arrow.flatbuffer import schema
from tests.unit.services.predict.api.arrow.test_predict import ROWS, answers_of, encode, post, send, without_ids
from tests.unit.services.predict.api.test_predict import assert_problem

GOOD = encode(pa.table({**ROWS, "grade": pa.array(ROWS["grade"]).dictionary_encode()}))
END = scan.CONTINUATION + bytes(4)
REFUSED = (400, 413, 415, 422)


def test_every_truncation(client: FlaskClient) -> None:
    """Also between two messages, and before the end that a stream announces."""
    for length in range(len(GOOD)):
        assert "Arrow" in assert_problem(send(client, GOOD[:length]), 400)["detail"]


@pytest.mark.parametrize("seed", range(4))
def test_changed_bytes(client: FlaskClient, seed: int) -> None:
    """Bytes, lengths and offsets; pieces taken out and doubled: an answer, or a problem."""
    dice = random.Random(seed)
    numbers = [0, 1, -1, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63), len(GOOD)]
    statuses = set()
    for turn in range(250):
        body = bytearray(GOOD)
        place = dice.randrange(len(body))
        size = dice.choice([1, 4, 8, 64])
        match dice.randrange(4):
            case 0:
                body[place] = dice.randrange(256)
            case 1:
                body[place // 8 * 8 : place // 8 * 8 + 8] = struct.pack("<q", dice.choice(numbers))
            case 2:
                del body[place : place + size]
            case _:
                body[place:place] = body[place : place + size]
        response = send(client, bytes(body))
        statuses.add(response.status_code)
        if response.status_code == 200:
            assert len(answers_of(response)) > 0
        else:
            assert response.status_code in REFUSED, (seed, turn)
            assert_problem(response, response.status_code)
    assert statuses > {200, 400}


def columns_of_other_types() -> dict[str, pa.Array]:
    """A column of each type that is neither a number nor a text."""
    moments = [datetime(2020, 1, 1), None, datetime(1, 1, 1), datetime(9999, 1, 1), datetime(2020, 1, 1)]
    numbers = pa.array([1, 2, 3, 4, 5])
    return {
        "timestamps": pa.array(moments, pa.timestamp("us", "Europe/Berlin")),
        "timestamps beyond all calendars": pa.array([2**62 + i for i in range(5)], pa.timestamp("s")),
        "nanoseconds": pa.array([1, 2, 3, 4, 5], pa.timestamp("ns")),
        "dates": pa.array([2**30] * 5, pa.date32()),
        "times": pa.array([1] * 5, pa.time64("ns")),
        "durations": pa.array([timedelta(1)] * 5),
        "intervals": pa.array([(1, 2, 3)] * 5, pa.month_day_nano_interval()),
        "decimals": pa.array([Decimal("1.5")] * 5),
        "large decimals": pa.array([Decimal(10) ** 60] * 5, pa.decimal256(70, 2)),
        "booleans": pa.array([True, False, None, True, False]),
        "bytes": pa.array([b"a", b"\xff", None, b"", b"c"]),
        "large bytes": pa.array([b"a"] * 5, pa.large_binary()),
        "views of bytes": pa.array([b"a" * 20] * 5, pa.binary_view()),
        "fixed bytes": pa.array([b"abc"] * 5, pa.binary(3)),
        "dictionary of bytes": pa.array([b"a"] * 5).dictionary_encode(),
        "dictionary of dates": pa.array([1] * 5, pa.date32()).dictionary_encode(),
        "uuids": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16] * 5, pa.binary(16))),
        "lists": pa.array([[1]] * 5),
        "views of lists": pa.array([[1]] * 5, pa.list_view(pa.int64())),
        "fixed lists": pa.array([[1, 2]] * 5, pa.list_(pa.int64(), 2)),
        "structs": pa.array([{"a": 1}] * 5),
        "maps": pa.array([[("a", 1)]] * 5, pa.map_(pa.string(), pa.int64())),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([5], pa.int32()), pa.array([1])),
        "unions": pa.UnionArray.from_sparse(pa.array([0] * 5, pa.int8()), [numbers]),
        "dictionary of lists": pa.DictionaryArray.from_arrays(pa.array([0] * 5), pa.array([[1, 2]])),
    }


@pytest.mark.parametrize("name", ["amount", "grade", "id", "colour"])
@pytest.mark.parametrize("kind", [*columns_of_other_types()])
def test_columns_of_other_types(client: FlaskClient, kind: str, name: str) -> None:
    """A column that holds neither numbers nor texts is refused under its name."""
    found = assert_problem(send(client, {**ROWS, name: columns_of_other_types()[kind]}), 422)
    pointers = {error["pointer"] for error in found["errors"]}
    assert pointers <= {f"/{name}", *(f"/{name}/{i}" for i in range(5))}
    assert pointers


def test_big_integers(client: FlaskClient) -> None:
    """They become the nearest float64, as in JSON."""
    for big in ([2**53 + 1, 2**63 - 1, 0, 1, 2], [2**64 - 1, 2**53 + 1, 0, 1, 2]):
        changed = {**ROWS, "amount": pa.array(big, pa.uint64())}
        assert without_ids(answers_of(send(client, changed))) == without_ids(
            post(client, {**ROWS, "amount": big}).get_json()["predictions"]
        )


def test_texts_that_are_not_utf_8(client: FlaskClient) -> None:
    """In a column, in a dictionary, in a name."""
    offsets = np.arange(6, dtype=np.int32)
    broken = pa.Array.from_buffers(pa.string(), 5, [None, pa.py_buffer(offsets), pa.py_buffer(b"\xff" * 5)])
    assert_problem(send(client, {**ROWS, "grade": broken}), 400)
    codes = pa.array([0] * 5, pa.int8())
    assert_problem(send(client, {**ROWS, "grade": pa.DictionaryArray.from_arrays(codes, broken)}), 400)
    assert_problem(send(client, GOOD.replace(b"grade", b"gr\xffde")), 400)


def test_dictionaries_that_lie(client: FlaskClient) -> None:
    """A position that is not in the dictionary."""
    codes = pa.array([0, 1, 2, 7, -1], pa.int8())
    wrong = pa.DictionaryArray.from_arrays(codes, pa.array(["A", "B", "C"]), safe=False)
    assert_problem(send(client, {**ROWS, "grade": wrong}), 400)


def test_rows_that_take_no_bytes(client: FlaskClient) -> None:
    """Of a column of nulls there may be any number."""
    body = encode(pa.table({"amount": pa.nulls(5)})).replace(struct.pack("<q", 5), struct.pack("<q", 2**62))
    assert assert_problem(send(client, body), 413)["max_rows"] == 50


def _views(text: bytes, count: int) -> pa.Array:
    view = struct.pack("<i4sii", len(text), text[:4], 0, 0)
    buffers = [None, pa.py_buffer(view * count), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string_view(), count, buffers)


def _dictionary(text: bytes, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int8()), pa.array([text.decode()]))


@pytest.mark.parametrize("make", [_views, _dictionary])
@pytest.mark.parametrize("name", ["grade", "colour"])
def test_a_long_text_that_is_named_often(
    client: FlaskClient, make: Callable[[bytes, int], pa.Array], name: str
) -> None:
    """Texts may take as many bytes as a body where each is written out."""
    found = assert_problem(send(client, {name: make(b"x" * 50_000, 50)}), 413)
    assert "100000 bytes" in found["detail"]


def test_compressed_buffers(client: FlaskClient) -> None:
    """Whatever they would expand to."""
    for codec in ("lz4", "zstd"):
        body = encode(pa.table({"amount": pa.array(np.zeros(40))}), compression=codec)
        assert "compressed" in assert_problem(send(client, body), 415)["detail"]


def test_delta_dictionaries(client: FlaskClient) -> None:
    """Each would make a longer copy of the one before."""
    sink = pa.BufferOutputStream()
    parts = [pa.record_batch({"grade": pa.array(own).dictionary_encode()}) for own in (["A"], ["A", "B"])]
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, parts[0].schema, options=options) as writer:
        for part in parts:
            writer.write(part)
    assert "delta" in assert_problem(send(client, bytes(sink.getvalue())), 415)["detail"]


def test_the_same_name_twice(client: FlaskClient) -> None:
    """Which of the two would be meant?"""
    twice = pa.Table.from_arrays([pa.array([1, 2])] * 2, names=["a/b", "a/b"])
    [error] = assert_problem(send(client, twice), 400)["errors"]
    assert error["pointer"] == "/a~1b"


def test_many_messages(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs time, however few rows it has."""
    monkeypatch.setattr(scan, "MOST_MESSAGES", 10)
    table = pa.table({name: pa.array(values) for name, values in ROWS.items()})
    for empty, status in ((8, 200), (9, 413)):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            for batch in [*table.to_batches(), *[table.to_batches()[0].slice(0, 0)] * empty]:
                writer.write_batch(batch)
        assert send(client, bytes(sink.getvalue())).status_code == status


def test_a_small_body_with_many_values(client: FlaskClient) -> None:
    """Nulls of many columns and rows take the memory of values: more than six bodies is too much."""
    table = pa.table({f"c{i}": pa.nulls(50) for i in range(200)})
    body = encode(table)
    assert len(body) < 1 << 16
    assert "600000 bytes of memory" in assert_problem(send(client, body), 413)["detail"]


@pytest.mark.parametrize(("messages", "fits"), [(165, True), (167, False)])
def test_many_columns_in_many_messages(messages: int, fits: bool) -> None:
    """Nulls take no bytes in a stream, and some in memory."""
    batch = pa.record_batch({f"c{i}": pa.nulls(0) for i in range(300)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(messages):
            writer.write_batch(batch)
    with contextlib.nullcontext() if fits else pytest.raises(Refused, match="counted in each message"):
        scan.check(bytes(sink.getvalue()), 300)


def test_a_schema_by_hand_is_read() -> None:
    """The hand that writes the bombs below writes streams that pyarrow reads."""
    found = pa.ipc.open_stream(schema(["field"], pairs=2)).schema
    assert found.names == ["amount"]
    assert found.field(0).type == pa.int64()
    assert found.metadata == {b"k": b"v"}
    nested = pa.ipc.open_stream(schema(["field", "field"])).schema
    assert nested.names == ["amount", "amount"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (schema(["field"] * 20_000), 413, "20000 columns"),
        (schema(["field"] * 9_000), 400, "twice"),
        (schema(["field"], children=9_000), 422, "nested"),
        (schema(["field"], pairs=10_000, value=b"x" * 40_000), 413, "metadata"),
        (schema(["field"], name=b"x" * 200_000), 413, "larger"),
        (END, 400, "must begin with its only schema"),
        (GOOD[:-8] + GOOD, 400, "must begin with its only schema"),
        (GOOD + GOOD, 400, "more after its end"),
        (b"", 400, "cut off"),
        (b"ARROW1\0\0" + GOOD, 400, "byte 0 does not begin a message"),
        (b'{"amount": [1, 2]}', 400, "byte 0 does not begin a message"),
        (scan.CONTINUATION + struct.pack("<i", -8) + bytes(64), 400, "negative length"),
        (scan.CONTINUATION + struct.pack("<i", 2**31 - 1) + bytes(64), 413, "description"),
    ],
)
def test_bombs_and_other_streams(client: FlaskClient, body: bytes, status: int, words: str) -> None:
    """A small description of something large; what is no stream at all."""
    assert words in assert_problem(send(client, body), status)["detail"]
