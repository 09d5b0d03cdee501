"""JSON is weighed before it is decoded, and the search for repeated keys ends at the hundredth."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predict.api import json_scan
from services.predict.api.json_scan import quotation_marks, repeated_keys, weigh
from services.predict.api.request_body import SMALL, BodyReader, parse
from services.predict.serving.memory_budget import MemoryBudget
from services.web.problem import Refused

SHAPES = {
    "objects": b"[" + b"{}," * 20_000 + b"{}]",
    "objects with a field": b"[" + b'{"":0},' * 20_000 + b"{}]",
    "objects with two fields": b"[" + b'{"a":1000,"bb":1.5},' * 20_000 + b"{}]",
    "arrays": b"[" + b"[]," * 20_000 + b"0]",
    "arrays with a value": b"[" + b"[1]," * 20_000 + b"0]",
    "arrays in arrays": b"[" + (b"[" * 900 + b"]" * 900 + b",") * 20 + b"0]",
    "numbers": b"[" + b"1000," * 20_000 + b"0]",
    "texts": b"[" + b'"ab",' * 20_000 + b"0]",
    "keys": b"{" + b",".join(b'"%05d":1' % i for i in range(20_000)) + b"}",
    "long keys": b"{" + b",".join(b'"%060d":{"":[]}' % i for i in range(20_000)) + b"}",
    "a wide character": b'["' + "\U0001f600".encode() + b"a" * 50_000 + b'"]',
    "an escaped wide character": b'["\\ud83d\\ude00' + b"a" * 50_000 + b'"]',
    "Cyrillic": b'["' + "\u0451".encode() + b"a" * 50_000 + b'"]',
}


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
def test_no_content_takes_more_memory_than_was_weighed(body: bytes) -> None:
    """By either way of weighing: the quick one, and the one that looks into strings."""
    tracemalloc.start()
    try:
        document = msgspec.json.decode(body)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert document
    quick = weigh(body, math.inf, 1 << 40)[1]
    assert taken <= quick
    exact = weigh(body, math.inf, quick - 1)[1]
    assert taken <= exact <= quick


def test_what_is_weighed_is_not_far_from_what_records_take() -> None:
    """Otherwise a good batch would be refused."""
    body = json.dumps(
        [{"amount": 1000 + i, "rate": 0.5, "purpose": "car", "grade": "C"} for i in range(10_000)]
    ).encode()
    assert weigh(body, 10_000, 1 << 40) == (10_000, weigh(body, math.inf, 1 << 40)[1])
    assert weigh(body, math.inf, 1 << 40)[1] < 12_000_000


@pytest.mark.parametrize(
    ("body", "objects"),
    [
        (b'["' + b"{" * 50 + b'"]', 0),
        (b'["\\"' + b"{" * 50 + b'\\\\",{}]', 1),
        (b'["' + b"{" * 50, 0),
        (b'["' + b"{" * 50 + b"\\", 0),
        (b'[{"a":"{"},{}]', 2),
    ],
)
def test_marks_in_strings_are_not_objects(body: bytes, objects: int) -> None:
    """Nor in a string that is not closed."""
    assert weigh(body, 2, 1 << 40)[0] == objects


def test_counting_stops_at_the_limit() -> None:
    """So a bad body takes no longer than a good one."""
    assert weigh(b"[" + b"{}," * 100_000 + b"{}]", 100, 1 << 40)[0] == 101


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_quotation_marks_of_strings_are_counted_exactly(document: object) -> None:
    """Whatever the strings hold, in either notation, nested or not: so no good document is taken for a bad one."""

    def strings(value: object) -> int:
        if isinstance(value, dict):
            return len(value) + sum(map(strings, value.values()))
        return sum(map(strings, value)) if isinstance(value, list) else int(isinstance(value, str))

    for body in (json.dumps(document).encode(), json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")):
        assert quotation_marks(body) == 2 * strings(document)
        assert repeated_keys(body) == []


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b'"a":1,' * 100_000 + b'"b":1}',
        b"[" + b'{"a":1,"a":2},' * 100_000 + b"{}]",
        b"[" + b'{"a":{"b":[{"c":1,"c":2}]}},' * 100_000 + b"{}]",
        b"{" + b",".join(b'"%d":1' % (i % 50_000) for i in range(100_000)) + b"}",
    ],
)
def test_the_search_ends_at_the_hundredth_repeated_key(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not read the rest of the body, which was ten seconds of work for 16 MB."""
    read = 0

    class Counted:
        @staticmethod
        def finditer(body: bytes) -> object:
            nonlocal read
            for token in TOKEN.finditer(body):
                read = token.end()
                yield token

    TOKEN = json_scan._TOKEN
    monkeypatch.setattr(json_scan, "_TOKEN", Counted)
    with pytest.raises(Refused) as caught:
        parse(body)
    assert caught.value.status == 400
    assert 1 <= len(caught.value.errors) <= 100
    assert read < 700_000


def test_pointers_stay_short() -> None:
    """Of deep documents and long keys: a problem document must not be as large as what was sent."""
    key = b'"' + b"k" * 10_000 + b'":'
    body = b'{"a":' * 500 + b"{" + key + b"1," + key + b"2}" + b"}" * 500
    [problem] = repeated_keys(body)
    assert len(problem.pointer) < 400


@pytest.mark.parametrize("body", [b"", b"}{", b"]]]", b'"a":1', b'{"a"', b'{"a":1,"a', b'{"\\x":1,"\\x":1}', b"[:"])
def test_what_is_not_json_has_no_repeated_keys(body: bytes) -> None:
    """The search also looks at the beginning of bodies that nobody has parsed."""
    assert repeated_keys(body) == []


def reader(most: int) -> BodyReader:
    return BodyReader(1 << 24, 1, MemoryBudget(most))


@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        (lambda: b"[" + b"{}," * 30_000 + b"{}]", 413, "more than 10000 objects"),
        (lambda: b'{"records":[' + b"{}," * 30_000 + b"{}]}", 413, "more than 10000 objects"),
        (lambda: b"[" + b"[]," * 30_000 + b"{}]", 413, "bytes of memory"),
        (lambda: b"[" + b'{"a":1,"a":2},' * 30_000 + b"{}]", 400, "the same key twice"),
    ],
)
def test_a_costly_body_is_refused_before_it_is_decoded(
    make: Callable[[], bytes], status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many rows, or too much memory. A repeated key at the beginning is named all the same."""
    monkeypatch.setattr("services.predict.api.request_body.parse", lambda _: pytest.fail("decoded"))
    with pytest.raises(Refused) as caught:
        reader(2_500_000).document(make(), {}, 10_000)
    assert caught.value.status == status
    assert words in caught.value.detail
    assert caught.value.more == ({"max_rows": 10_000} if "objects" in words else {})


def test_a_large_body_claims_memory_and_a_small_one_does_not() -> None:
    """One loan asks nobody."""
    small: dict[str, object] = {}
    reader(1).document(b"[1]", small)
    assert small == {}
    large: dict[str, object] = {}
    reader(10_000_000).document(b'["' + b"a" * SMALL + b'"]', large)
    assert list(large) == ["request.release"]
