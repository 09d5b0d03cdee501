"""From bytes to JSON, strictly."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predict.api import json_scan
from services.predict.api.request_body import parse
from services.web.problem import Refused


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not valid JSON"),
        (b'{"a": 1,}', "byte 8"),
        (b"NaN", "not valid JSON"),
        (b'{"a": NaN, "b": "\\""}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        (b'{"a": "\xff"}', "UTF-8"),
        ('{"a": "ä"}'.encode("utf-16"), "JSON"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'"\\ud800"', "not valid JSON"),
    ],
)
def test_what_is_not_json_is_a_400_that_says_why(body: bytes, words: str) -> None:
    """The detail names the byte where there is one, and never shows the body."""
    with pytest.raises(Refused) as caught:
        parse(body)
    assert caught.value.status == 400
    assert words in caught.value.detail


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a": 1, "a": 2}', "/a"),
        (b'{"a": "x", "a": "x"}', "/a"),
        (b'[{"a": 1}, {"b": 1, "b": 1}]', "/1/b"),
        (b'{"records": [{"a": 1, "a": 1}]}', "/records/0/a"),
        (b'{"a\\u0062": 1, "ab": 2}', "/ab"),
        (b'{"a": "\\"", "a": 1}', "/a"),
    ],
)
def test_a_key_that_stands_twice_is_pointed_at(body: bytes, pointer: str) -> None:
    """Two readers could take different values; so neither is taken."""
    with pytest.raises(Refused) as caught:
        parse(body)
    assert [e["pointer"] for e in caught.value.errors] == [pointer]


def test_a_number_beyond_float64_is_left_to_the_schema() -> None:
    """It is valid JSON; the schema refuses it by name."""
    assert parse(b'{"a": 1e999}') == {"a": math.inf}


FLAT = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5)
)


@given(FLAT | st.lists(FLAT, max_size=3))
def test_valid_json_is_read_as_the_standard_library_reads_it(document: object) -> None:
    """Escaped quotation marks and all."""
    body = json.dumps(document).encode()
    assert parse(body) == json.loads(body)


@given(st.text(min_size=1, max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_no_repeated_key_gets_through(key: str, one: str, other: str) -> None:
    """Whatever its value holds."""
    body = f"{{{json.dumps(key)}: {json.dumps(one)}, {json.dumps(key, ensure_ascii=False)}: {json.dumps(other)}}}"
    with pytest.raises(Refused) as caught:
        parse(body.encode("utf-8", "surrogatepass"))
    assert caught.value.status == 400


SPACE = st.sampled_from(["", " ", "\n", "\t", "  "])


@given(st.lists(FLAT, max_size=3), st.text(max_size=5), st.text(max_size=5), SPACE, SPACE, st.booleans())
def test_no_repeated_key_gets_through_among_records(
    records: list[dict[str, object]], key: str, value: str, before: str, after: str, wrapped: bool
) -> None:
    """However it is written, and whatever the other records hold."""
    colon = f"{before}:{after}"
    twice = "{" + ",".join(f"{json.dumps(key)}{colon}{json.dumps(value)}" for _ in range(2)) + "}"
    body = ",".join([*(json.dumps(record, separators=(",", colon)) for record in records), twice])
    with pytest.raises(Refused) as caught:
        parse((f'{{"records"{colon}[{body}]}}' if wrapped else f"[{body}]").encode("utf-8", "surrogatepass"))
    assert caught.value.status == 400


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_keys_are_counted_across_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(json_scan, "BLOCK", block)
    assert json_scan.most_keys(b'[{"a":1,"bb":"c","d\\":":2},{"a":":"}]') == 6
    assert json_scan.most_keys(b'[{"a" :1}]') is None
    assert json_scan.most_keys(b"[]") == 0
